"""What models are found to be: facts about bytes, kept in files named by their digest.

An inspection must not wait behind a job that runs for hours, and losing one costs a few seconds.
So neither the job table nor the broker knows of them: a request is an empty file whose name says
everything, taken by whoever renames it first, and every worker looks for one between two breaths.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.jobs.blobs import full_disk

MOST_TRIES = 3
# Longer than an inspection may take: who took the request is gone.
ABANDONED_S = 900.0
# A failure that may pass is told for so long; who asks after that has the model looked at again.
PASSING_S = 60.0
GAVE_UP = {
    "code": "inspection_lost",
    "detail": "looking at this model ended three workers; a job with it would too",
    "details": {},
    "retryable": False,
}


@dataclass(frozen=True)
class Request:
    """A model somebody wants to know about, by digest; ``tries`` counts this one."""

    sha256: str
    format: str
    tries: int

    def name(self, state: str) -> str:
        """The name of its file while it is ``asked`` or ``taken``."""
        return f"{self.sha256}.{self.format}.{self.tries}.{state}"

    @classmethod
    def of(cls, path: Path) -> Request:
        """The request a file stands for."""
        sha256, format, tries, _ = path.name.split(".")
        return cls(sha256, format, int(tries))


class Inspections:
    """``inspections/`` under ``root``; shared by the API, which asks, and workers, which answer."""

    def __init__(self, root: Path) -> None:
        self._root = root / "inspections"
        self._root.mkdir(parents=True, exist_ok=True)
        self._version = version("sosp")

    def find(self, sha256: str) -> dict[str, Any] | None:
        """``{"inspection": ...}`` or ``{"error": ...}``; None if this version has to look (again)."""
        place = self._result(sha256)
        try:
            found: dict[str, Any] = json.loads(place.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if may_pass(found) and _age(place) < time.time() - PASSING_S:
            return None
        return found if found.get("version") == self._version else None

    def ask(self, sha256: str, format: str) -> None:
        """Have a worker look; harmless if one does already."""
        if not any(self._root.glob(f"{sha256}.*.*.*")):
            with full_disk("the request"):
                (self._root / Request(sha256, format, 0).name("asked")).touch()

    def take(self) -> Request | None:
        """The oldest request, which is ours from now on; None if there is none."""
        self._revive()
        for path in sorted(self._root.glob("*.asked"), key=_age):
            asked = Request.of(path)
            ours = Request(asked.sha256, asked.format, asked.tries + 1)
            with suppress(FileNotFoundError):  # somebody else was faster
                os.utime(path)
                path.rename(self._root / ours.name("taken"))
                if ours.tries <= MOST_TRIES:
                    return ours
                self.settle(ours, {"error": GAVE_UP})
        return None

    def settle(self, request: Request, document: dict[str, Any]) -> None:
        """Keep what was found, and forget the request."""
        temporary = self._root / f"{secrets.token_hex(8)}.tmp"
        with full_disk("the inspection"):
            temporary.write_text(json.dumps({"version": self._version, **document}), "utf-8")
            temporary.replace(self._result(request.sha256))
        (self._root / request.name("taken")).unlink(missing_ok=True)

    def release(self, request: Request) -> None:
        """Leave a request to somebody else, untried."""
        self._put_back(request, request.tries - 1)

    def again(self, request: Request) -> bool:
        """Have a request tried once more; False if it has been often enough."""
        if request.tries >= MOST_TRIES:
            return False
        self._put_back(request, request.tries)
        return True

    def _put_back(self, request: Request, tries: int) -> None:
        asked = Request(request.sha256, request.format, tries)
        with suppress(FileNotFoundError):
            (self._root / request.name("taken")).rename(self._root / asked.name("asked"))

    def _revive(self) -> None:
        for path in self._root.glob("*.taken"):
            if _age(path) < time.time() - ABANDONED_S:
                with suppress(FileNotFoundError):
                    path.rename(path.with_suffix(".asked"))

    def _result(self, sha256: str) -> Path:
        return self._root / f"{sha256}.json"


def may_pass(found: dict[str, Any]) -> bool:
    """Whether a failure was the machine's rather than the model's."""
    return bool(found.get("error", {}).get("retryable"))


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
