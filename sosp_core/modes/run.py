"""One run of a job: what it was told, its clock, and the borders at which it may stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from sosp_core.checkpoints import Checkpoints, Codec, Kept, NoCheckpoints
from sosp_core.config import Recipe
from sosp_core.errors import Cancelled
from sosp_core.progress import Progress
from sosp_core.stages.resume import identity
from sosp_core.stages.subject import Subject

T = TypeVar("T")


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
        devices: What trains; the first does everything else, too.
        checkpoints: Where finished stages are kept.
        timings: Seconds by stage, filled as they end; with those of an earlier try.
    """

    recipe: Recipe
    out: Path
    progress: Progress
    devices: tuple[torch.device, ...]
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where everything but training is computed."""
        return self.devices[0]

    def kept(self, subject: Subject) -> Kept:
        """The checkpoints of this very work; those of any other are not seen."""
        return Kept(self.checkpoints, lambda: identity(subject, self.device))

    def once(self, kept: Kept, name: str, codec: Codec[T], make: Callable[[], T]) -> T:
        """The result of stage ``name``: as an earlier try left it, else made and kept now."""
        found = kept.load(name)
        if found is not None:
            content, seconds = found
            self.timings[name] = self.timings.get(name, 0.0) + seconds
            return codec.read(content)
        began = time.monotonic()
        made = make()
        kept.save(name, lambda file: codec.write(made, file), seconds=time.monotonic() - began)
        return made

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
