"""Progress of work that is one part of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sosp_core.modes.run import Run
from sosp_core.progress import Progress

Span = tuple[float, float]

#: Where the stages of one model out of several begin and end; those not named come last.
STAGES: Mapping[str, Span] = {
    "score": (0.0, 0.2),
    "cut": (0.2, 0.25),
    "finetune": (0.25, 0.9),
    "write": (0.9, 0.92),
}
LAST: Span = (0.92, 1.0)
#: The stage that stands for all that comes before the last cut.
EARLIER = "score"


@dataclass(frozen=True)
class Part:
    """Passes on reports as a part of ``stage``: from ``start`` to ``end`` of it.

    Attributes:
        name: Begins every message, so that it is plain which part this is.
        inner: Where in the part each stage of its own lies; empty if it is part of one stage only.
    """

    whole: Progress
    stage: str
    start: float
    end: float
    name: str
    inner: Mapping[str, Span] = field(default_factory=dict)

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Report to the whole; when a part ends says little about when the stage does."""
        told = message or (stage if self.inner else "")
        begin, end = self.inner.get(stage, LAST) if self.inner else (0.0, 1.0)
        at = self.start + (self.end - self.start) * (begin + (end - begin) * done)
        eta = eta_s if self.end == 1.0 and not self.inner else None
        self.whole.report(
            self.stage, at, f"{self.name}: {told}" if told else self.name, eta_s=eta, metrics=metrics
        )

    def cancelled(self) -> bool:
        """As the whole."""
        return self.whole.cancelled()


@dataclass(frozen=True)
class LastStep:
    """Passes on reports of the last of several steps: its own stages, one after the other, are the job's.

    Attributes:
        start: How much of stage ``score`` the steps before it took.
        name: Begins every message.
    """

    whole: Progress
    start: float
    name: str

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Report to the whole."""
        at = self.start + (1 - self.start) * done if stage == EARLIER else done
        told = f"{self.name}: {message}" if message else self.name
        self.whole.report(stage, at, told, eta_s=eta_s, metrics=metrics)

    def cancelled(self) -> bool:
        """As the whole."""
        return self.whole.cancelled()


def parts(whole: Progress, stage: str, names: Sequence[str]) -> list[Part]:
    """Equal parts of a stage, one after the other."""
    n = len(names)
    return [Part(whole, stage, i / n, (i + 1) / n, name) for i, name in enumerate(names)]


def one_model(run: Run, number: int, count: int) -> Run:
    """The same run, for one of several models: fine-tuning stands for all of their stages."""
    name = f"model {number + 1} of at most {count}"
    own = Part(run.progress, "finetune", number / count, (number + 1) / count, name, STAGES)
    return replace(run, progress=own)


def one_step(run: Run, number: int, count: int) -> Run:
    """The same run, for one of several cuts: scoring stands for all stages of those before the last."""
    name, start = f"step {number + 1} of {count}", number / count
    if number == count - 1:
        return replace(run, progress=LastStep(run.progress, start, name))
    return replace(run, progress=Part(run.progress, EARLIER, start, (number + 1) / count, name, STAGES))
