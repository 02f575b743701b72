"""Progress of work that is one part of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sosp_core.progress import Progress


@dataclass(frozen=True)
class Part:
    """Passes on reports as a part of ``stage``: from ``start`` to ``end`` of it.

    Attributes:
        name: Begins every message, so that it is plain which part this is.
    """

    whole: Progress
    stage: str
    start: float
    end: float
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
        """Report to the whole; when a part ends says little about when the stage does."""
        told = f"{self.name}: {message}" if message else self.name
        at = self.start + (self.end - self.start) * done
        eta = eta_s if self.end == 1.0 else None
        self.whole.report(self.stage, at, told, eta_s=eta, metrics=metrics)

    def cancelled(self) -> bool:
        """As the whole."""
        return self.whole.cancelled()


def parts(whole: Progress, stage: str, names: Sequence[str]) -> list[Part]:
    """Equal parts of a stage, one after the other."""
    n = len(names)
    return [Part(whole, stage, i / n, (i + 1) / n, name) for i, name in enumerate(names)]
