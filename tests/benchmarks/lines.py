"""Raw numbers of the documentation as files of JSON lines: several processes may add to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows(file: Path) -> list[Row]:
    """All that have been added so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def add(file: Path, row: Row) -> None:
    """Append one, in a single write."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as target:
        target.write(json.dumps(row) + "\n")


def find(file: Path, **wanted: Any) -> Row | None:
    """The first row that has these entries."""
    return next((row for row in rows(file) if all(row.get(k) == v for k, v in wanted.items())), None)
