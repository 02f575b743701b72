"""One running stack for each broker, with a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.client import Client
from tests.live import Bench, running_stack


@pytest.fixture(scope="session", params=["sqlite", "valkey"])
def broker(request: pytest.FixtureRequest) -> str:
    """The URL of a broker; empty for the default, which is SQLite."""
    return "" if request.param == "sqlite" else request.getfixturevalue("valkey")


@pytest.fixture(scope="module")
def bench(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("stack")
    if broker:
        broker = broker.removesuffix("0") + "2"
    with (
        running_stack(directory / "data", workers=1, broker_url=broker) as stack,
        Client(stack.url) as client,
    ):
        yield Bench(stack, client, directory)
