"""The site builds without a warning, asks nobody else for anything, and its reference is the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import reference
from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_that_of_the_code(name: str) -> None:
    written = (reference.PLACE / name).read_text("utf-8")
    assert written == reference.render(name), "run python -m tests.reference"


def test_no_page_asks_another_site_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text("utf-8")
        asked = re.findall(r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//[^>]*>""", text)
        asked += [t for t in re.findall(r"<link[^>]*>", text) if "//" in t and 'rel="canonical"' not in t]
        assert not asked, (page.name, asked)


def test_every_page_of_the_menu_and_every_picture_is_there(site: Path) -> None:
    for name in (
        "tutorial",
        "how-to/quantise",
        "reference/recipe",
        "explanation/slots",
        "operators",
        "benchmarks",
    ):
        assert (site / f"{name}.html").is_file()
    for page in (ROOT / "docs").rglob("*.md"):
        for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text("utf-8")):
            assert (page.parent / picture).is_file(), picture
