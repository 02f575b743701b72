"""A job store on a real database, without HTTP; an API on a small disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.live import FAST, Stack, running_stack
from tests.service.world import World


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres")() if request.param == "postgres" else ""
    made = World.open(Settings(data_dir=tmp_path, database_url=url, **FAST))
    yield made
    made.close()


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Stack]:
    """An API whose disk has four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root")
    try:
        with running_stack(place) as stack:
            yield stack
    finally:
        subprocess.run(["umount", str(place)], check=True)
