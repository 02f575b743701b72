"""Stage ``score``: what shall go."""

from __future__ import annotations

import torch

from sosp_core.progress import Progress
from sosp_core.select.plan import Plan
from sosp_core.stages.clocked import reach_by_the_clock
from sosp_core.stages.offer import Choice, offer
from sosp_core.stages.subject import Subject
from sosp_core.stages.trail import Trail


def choose(subject: Subject, choice: Choice, progress: Progress, device: torch.device) -> Plan:
    """Prune in rounds until the budget is met; a latency is measured, and the aim corrected.

    Raises:
        TargetUnreachable: What the rules leave is still too much.
        Cancelled: Between two rounds.
    """
    return reach(subject, choice, Trail(subject, choice, progress, device), choice.target, progress)


def reach(subject: Subject, choice: Choice, trail: Trail, target: int, progress: Progress) -> Plan:
    """The same on a trail that other budgets share."""
    if choice.timetable is None:
        return choice.plan(trail.reach(target))
    return reach_by_the_clock(subject, choice, trail, target, progress)


__all__ = ["Choice", "choose", "offer", "reach"]
