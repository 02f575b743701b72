"""Brings a database to the tables this version knows, whatever version made it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from service.errors import CannotStart
from service.jobs.tables import Base

# The newest file in ``migrations/versions``.
NEWEST = "0004"
# Before migrations there were these tables.
FIRST = "0001"
LOCK = 0x736F7370


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, inside the transaction ``connection`` is in.

    Raises:
        CannotStart: A newer version of this program has changed the database.
    """
    if connection.dialect.name == "postgresql":  # several processes may start at once
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    current = revision(connection)
    if current == NEWEST:
        return
    if current is not None and current > NEWEST:
        raise CannotStart(reason=f"the database is of a newer version: {current}, this one knows {NEWEST}")
    if current is None and not inspect(connection).has_table("job"):
        _create(connection)
    else:
        migrate(connection, stamp=current is None)


def revision(connection: Connection) -> str | None:
    """The last migration that was run; None if none was."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _create(connection: Connection) -> None:
    """What all migrations together would make, in a tenth of the time."""
    Base.metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": NEWEST})


def migrate(connection: Connection, *, stamp: bool) -> None:
    """Run every migration that is missing; with ``stamp``, all but the first are."""
    from alembic import command  # 0.2 s to load, for something that is seldom needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    if stamp:
        command.stamp(config, FIRST)
    command.upgrade(config, "head")
