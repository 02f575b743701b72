"""What fine-tuning did, evaluation by evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from sosp_core.finetune.evaluate import Quality


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluation on the held-out samples.

    Attributes:
        objective: What the best weights are chosen by, the smallest.
    """

    step: int
    quality: Quality
    objective: float


@dataclass(kw_only=True)
class History:
    """What fine-tuning did.

    Attributes:
        steps: Optimiser steps taken.
        best: The evaluation whose weights were kept.
        points: Every evaluation, the first before any step.
        restarts: Times a loss, its gradients or an evaluation was not finite and the rate was cut.
        augmentations: What was applied.
        seconds: Wall time.
    """

    steps: int = 0
    best: Point | None = None
    points: list[Point] = field(default_factory=list)
    restarts: int = 0
    augmentations: tuple[str, ...] = ()
    seconds: float = 0.0
