"""One run of a job: what it was told, its clock, and the borders at which it may stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sosp_core.config import Recipe
from sosp_core.errors import Cancelled
from sosp_core.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a job works on: the model file or its content, data, and data to judge by, if given."""

    model: Path | bytes
    data: Path
    evaluation: Path | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the stages.

    Attributes:
        out: Folder of the results.
        timings: Seconds by stage, filled as they end.
    """

    recipe: Recipe
    out: Path
    progress: Progress
    device: torch.device
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and report its beginning and end; a job that is to stop does not enter it.

        Raises:
            Cancelled: ``progress`` asked to stop.
        """
        if self.progress.cancelled():
            raise Cancelled(stage=name)
        self.progress.report(name, 0.0)
        started = time.monotonic()
        yield
        self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started
        self.progress.report(name, 1.0)
