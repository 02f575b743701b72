"""Every block of code in README and documentation runs, or says why it does not.

Commands and scripts run as written, in processes of their own, with a real server and worker. What
takes long is the pipeline: the stand-in takes its place, except in the tutorial, which runs for real.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.digits import exported, network, save_digits
from tests.docs.blocks import PAGES, ROOT, blocks, check_json, run, runnable
from tests.live import STANDIN, Stack, running_stack

TUTORIAL = ROOT / "docs" / "tutorial.md"
KINDS = {"sh", "python", "json", "text"}
STANDIN_PATH = os.pathsep.join([str(STANDIN), str(ROOT)])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("server")
    with running_stack(place / "data", workers=1, log=place / "log") as stack:
        yield stack


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as the pages assume it: a model, data, and the examples beside them."""
    (tmp_path / "model.onnx").write_bytes(exported(network().eval()))
    save_digits(tmp_path / "data.npz", count=64)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_runs_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS, f"a block of kind {block.kind!r}: {block.text[:60]}"
        assert block.reason is None or len(block.reason) > 10


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.kind == "json" for b in blocks(p))], ids=name_of)
def test_recipes_in_the_pages_are_recipes(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "json":
            check_json(block.text)


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p) and p != TUTORIAL], ids=name_of)
def test_the_blocks_of_a_page_run(page: Path, place: Path, server: Stack) -> None:
    environment = {"PYTHONPATH": STANDIN_PATH, "SOSP_DATA_DIR": str(place / "kept"), "OMP_NUM_THREADS": "1"}
    for block in runnable(page):
        if "python -m tests." in block.text:  # writes pages: what it writes is compared elsewhere
            continue
        run(block, place, server.url, environment)


def test_the_tutorial_halves_a_network(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    for block in runnable(TUTORIAL):
        run(block, tmp_path, "", environment)
    assert (tmp_path / "slim.onnx").stat().st_size < 0.6 * (tmp_path / "digits.onnx").stat().st_size
    assert (tmp_path / "slim.MODEL_CARD.md").is_file()
