"""Which database and which data directory belong together.

Files are judged by rows: with another installation's database every one of them would look unused.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import select

from service.errors import CannotStart
from service.jobs.database import Database
from service.jobs.tables import Installation

FILE = "installation"


def tie(db: Database, root: Path) -> None:
    """Give a database and a directory that are both new a common id."""
    with db.write() as session:
        db.lock(session, FILE)
        if session.scalar(select(Installation.id)) is None and not (root / FILE).exists():
            row = Installation(id=secrets.token_hex(16))
            session.add(row)
            (root / FILE).write_text(row.id)


def require_tied(db: Database, root: Path) -> None:
    """Raise ``CannotStart`` unless ``db`` is the database of ``root``."""
    with db.read() as session:
        known = session.scalar(select(Installation.id))
    file = root / FILE
    if known is None or not file.exists() or file.read_text() != known:
        raise CannotStart(reason=f"{root} belongs to another job database than the one in use")
