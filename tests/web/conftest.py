"""Pages without a server process: the application itself, asked as a browser of this machine would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from tests.live import FAST
from tests.web.asking import TestClient
from tests.web.stage import Scene

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene.at(tmp_path)
    yield made
    made.parts.close()


@pytest.fixture
def web(scene: Scene) -> Iterator[TestClient]:
    app = create_app(Settings(data_dir=scene.parts.settings.data_dir, **FAST))
    yield TestClient(
        app,
        base_url="http://127.0.0.1:8000",
        client=("127.0.0.1", 1),
        headers=BROWSER,
        follow_redirects=False,
    )
    app.state.parts.close()
