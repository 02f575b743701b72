"""A job store on a real database, without HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.live import FAST
from tests.service.world import World


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres")() if request.param == "postgres" else ""
    made = World.open(Settings(data_dir=tmp_path, database_url=url, **FAST))
    yield made
    made.close()
