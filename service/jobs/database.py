"""One database and the two ways to use it: reading and writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, select
from sqlalchemy.orm import Session

from service.jobs.tables import Base

# FULL, not NORMAL: with WAL, NORMAL may lose the last commits when the power goes.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON")


class Database:
    """Sessions on the job database; safe to share between threads, not between processes."""

    def __init__(self, url: str, *, pooled: bool = True) -> None:
        """Open lazily; ``pooled=False`` for a process that forks.

        A connection kept open would be inherited by the fork, and SQLite loses a process's locks
        when that process closes any of its handles on the file.
        """
        pool: dict[str, Any] = {"pool_size": 10, "max_overflow": 30} if pooled else {"poolclass": NullPool}
        self._engine = create_engine(url, **pool)
        if self._engine.dialect.name == "sqlite":
            _use_sqlite_well(self._engine)
        self._writer = self._engine.execution_options(writes=True)

    def create_tables(self) -> None:
        """Create what is missing; harmless when nothing is."""
        with self._writer.begin() as connection:
            Base.metadata.create_all(connection)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state; its rows stay readable afterwards."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def ping(self) -> None:
        """Do nothing, truly: raises if the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()


def _use_sqlite_well(engine: Engine) -> None:
    """Durable commits, and writers that queue up rather than deadlock.

    A transaction that reads first and writes later cannot be upgraded while another one writes;
    BEGIN IMMEDIATE takes the write lock at once, so that ``busy_timeout`` applies.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # or sqlite3 would send its own BEGIN
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
