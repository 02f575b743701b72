"""Databases of every age become the one this version knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from service.errors import CannotStart
from service.jobs import schema
from service.jobs.database import Database
from service.jobs.tables import Base

MIGRATIONS = Path(schema.__file__).with_name("migrations")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres")())
    return f"sqlite:///{tmp_path / 'sosp.db'}"


def migrated(url: str) -> None:
    db = Database(url)
    db.migrate()
    db.close()


@pytest.mark.parametrize("way", ["at once", "step by step"])
def test_the_migrations_make_the_tables_of_the_code(url: str, way: str) -> None:
    engine = create_engine(url)
    if way == "step by step":
        with engine.begin() as connection:
            schema.migrate(connection, stamp=False)
    migrated(url)
    migrated(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.NEWEST]


def test_what_was_there_before_owners_belongs_to_this_machine(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, schema.FIRST)
        connection.execute(text("DROP TABLE alembic_version"))  # as when tables were made without it
        connection.execute(
            text(
                "INSERT INTO job (id, seq, state, model_id, dataset_id, recipe, progress, overall, message, "
                "metrics, artifacts, attempt, fence, cancel_requested, created_at, updated_at) "
                "VALUES ('job_x', 1, 'queued', 'm', 'd', '{}', 0, 0, '', '{}', '[]', 0, 0, FALSE, 0, 0)"
            )
        )
        connection.execute(text("INSERT INTO job_event VALUES ('job_x', 1, 'state', 0, '{}')"))
        connection.execute(text("INSERT INTO idempotency_key VALUES ('k', 'f', 'job_x', 0)"))
    migrated(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT owner, queue FROM job")).all() == [("local", "any")]
        assert connection.execute(text("SELECT owner, key FROM idempotency_key")).all() == [("local", "k")]
        assert connection.execute(text("SELECT count(*) FROM job_event")).scalar() == 1
    engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    migrated(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(CannotStart, match="newer version"):
        migrated(url)
