"""What a supervisor and its child tell each other: one order in, lines of JSON out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LONGEST_LINE = 2**20
# What a child that looks at a model leaves in its ``out``.
INSPECTION = "inspection.json"


@dataclass(frozen=True, kw_only=True)
class Order:
    """Everything a child needs to know; it is given no access to the job store.

    Without a recipe there is no job: the model is looked at, and ``data`` is not used.
    """

    parent: int
    pipe: int
    model: str
    data: str
    evaluation: str | None
    recipe: dict[str, Any] | None
    out: str
    checkpoints: str
    checkpoint_every_s: float
    devices: str
    limits: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the order where the child will read it."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Order:
        """Read an order."""
        return cls(**json.loads(path.read_text("utf-8")))


class Lines:
    """Cuts a stream of bytes into JSON objects; what is cut short or broken is left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects completed by ``data``."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:LONGEST_LINE]
        for line in whole:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                yield message
