"""How a running job tells where it is, and learns that it should stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """What the core reports to; it does not know to whom."""

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Say how far a stage is.

        Args:
            stage: One of ``sosp_core.pipeline.STAGES``.
            done: Share of the stage that is finished, 0 to 1.
            message: One line for people.
            eta_s: Seconds until the stage ends, if it can be told.
            metrics: Named numbers of this moment, such as ``loss``.
        """

    def cancelled(self) -> bool:
        """Whether the user asked to stop; cheap enough to ask at every step."""


class NullProgress:
    """Progress that nobody watches."""

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Ignore the report."""

    def cancelled(self) -> bool:
        """Never."""
        return False
