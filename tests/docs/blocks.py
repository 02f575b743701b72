"""The code blocks of Markdown pages, and how each kind is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service import recipes
from sosp_core.data.images import Preprocess

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SERVER = "http://127.0.0.1:8000"
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    reason: str | None  # why it is not run


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text("utf-8"))
    return [Block(match["kind"], match["text"], match["reason"]) for match in found]


def runnable(page: Path) -> list[Block]:
    return [b for b in blocks(page) if b.reason is None and b.kind in {"sh", "python"}]


def run(block: Block, place: Path, server: str, environment: Mapping[str, str]) -> None:
    """Run a block of commands or Python in ``place``, against ``server`` where it names the usual one."""
    text = block.text.replace(SERVER, server)
    if block.kind == "sh":
        # The server of the page is up already, on a free port.
        text = re.sub(r"^sosp serve &.*$", "", text, flags=re.MULTILINE)
        command = ["bash", "-euo", "pipefail", "-c", text]
    else:
        command = [sys.executable, "-c", text]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def check_json(text: str) -> None:
    """A JSON block is a recipe, or tells how images are prepared."""
    told = json.loads(text)
    if "mean" in told:
        Preprocess(**told)
    else:
        recipes.build(told)
