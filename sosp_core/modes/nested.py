"""Several models in one job: the progress of each as a part of one stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sosp_core.modes.run import Run
from sosp_core.progress import Progress

#: The stage that stands for all of them, and where within a model's part its stages begin and end.
STAGE = "finetune"
PARTS = {"score": (0.0, 0.2), "cut": (0.2, 0.25), "finetune": (0.25, 0.9), "write": (0.9, 0.92)}
REST = (0.92, 1.0)


@dataclass(frozen=True)
class Part:
    """The progress of one model out of several."""

    whole: Progress
    number: int
    count: int

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Pass a report on, as a share of all models."""
        begin, end = PARTS.get(stage, REST)
        share = (self.number + begin + (end - begin) * done) / self.count
        told = f"model {self.number + 1} of at most {self.count}: {message or stage}"
        self.whole.report(STAGE, share, told, metrics=metrics)

    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self.whole.cancelled()


def part(run: Run, number: int, count: int) -> Run:
    """The same run, for one of several models."""
    return replace(run, progress=Part(run.progress, number, count))
