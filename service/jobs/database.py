"""One database and the two ways to use it: reading and writing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVarTuple

from sqlalchemy import Connection, Engine, NullPool, Row, Select, create_engine, event, func, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from service.errors import CannotStart
from service.jobs import schema

# FULL, not NORMAL: with WAL, NORMAL may lose the last commits when the power goes.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON")
Columns = TypeVarTuple("Columns")
# As many as there are threads that serve requests, so that none waits for another's. All are kept: to
# open one costs more than most queries.
MOST = 40
EXAMPLES = "it is given as postgresql+psycopg://user@host/name or sqlite:////directory/sosp.db"


class Database:
    """Sessions on the job database; safe to share between threads, not between processes."""

    def __init__(self, url: str, *, pooled: bool = True) -> None:
        """Open lazily; ``pooled=False`` for a process that forks.

        A connection kept open would be inherited by the fork, and SQLite loses a process's locks
        when that process closes any of its handles on the file.

        Raises:
            CannotStart: It is no URL of a database, or its driver is not installed.
        """
        pool: dict[str, Any] = {"pool_size": MOST, "max_overflow": 0} if pooled else {"poolclass": NullPool}
        # A server that was restarted has closed the pooled connections; a ping before use finds out.
        try:
            self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), **pool)
        except (ArgumentError, ImportError, ValueError) as error:
            raise CannotStart(reason=f"the job database cannot be used: {error}; {EXAMPLES}") from error
        if self._engine.dialect.name == "sqlite":
            _use_sqlite_well(self._engine)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._single = self._engine.execution_options(**_without_transaction(self._engine))

    def migrate(self) -> None:
        """Bring the tables up to date; harmless when they are."""
        # Foreign keys are off: SQLite would obey them while a migration replaces a table.
        engine = create_engine(self._engine.url, poolclass=NullPool)
        if engine.dialect.name == "sqlite":
            _use_sqlite_well(engine, PRAGMAS[:-1])
        try:
            with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
                schema.upgrade(connection)
        finally:
            engine.dispose()

    def lock(self, session: Session, *names: str) -> None:
        """Hold ``names`` until the transaction ends; whoever else locks one of them waits.

        SQLite has one writer at a time anyway.
        """
        if self._engine.dialect.name == "postgresql":
            for name in sorted(names):  # in one order, so that two never wait for each other
                session.execute(select(func.pg_advisory_xact_lock(_number(name))))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state; its rows stay readable afterwards."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    def rows(self, query: Select[*Columns], **values: Any) -> Sequence[Row[*Columns]]:
        """What one query finds with ``values`` for its parameters.

        A single statement sees one consistent state by itself: without a session and a transaction
        around it, it costs a third.
        """
        with self._single.connect() as connection:
            return connection.execute(query, values).all()

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


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _without_transaction(engine: Engine) -> dict[str, Any]:
    """Options of connections on which every statement is by itself."""
    return {"begin": ""} if engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}


def _use_sqlite_well(engine: Engine, pragmas: Sequence[str] = PRAGMAS) -> None:
    """Durable commits, and writers that queue up rather than deadlock.

    A transaction that reads first and writes later cannot be upgraded while another one writes;
    BEGIN IMMEDIATE takes the write lock at once, so that ``busy_timeout`` applies.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # or sqlite3 would send its own BEGIN
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if begin := connection.get_execution_options().get("begin", "BEGIN"):
            connection.exec_driver_sql(begin)
