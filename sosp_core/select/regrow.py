"""What a coarse last step took beyond the budget, given back where it was missed most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import Cost, Kept
from sosp_core.select.rules import Rules
from sosp_core.structures.structures import Alive, Group


def regrow(
    alive: Alive,
    groups: Sequence[Group],
    cost: Cost,
    target: int,
    rules: Rules,
    dearness: NDArray[np.float64],
) -> Alive:
    """Widen groups by a step each, dearest first, for as long as ``target`` holds.

    A step of eight channels of a residual stream can take a seventh of a network at once, when a
    twentieth was all that was left to save.

    Args:
        alive: The plan.
        groups: The partition of the structures.
        cost: The metric that ``target`` counts.
        target: Amount that may be left.
        rules: Ceilings hold, and widths stay on their grid.
        dearness: ``[S]``, of removed structures: the larger, the more they were worth.
    """
    alive = alive.copy()
    while True:
        kept = cost.kept(alive)
        back = [
            members
            for number in range(len(groups))
            if (members := _step(alive, number, groups, cost, target, rules, dearness, kept)).size
        ]
        if not back:
            return alive
        alive[max(back, key=lambda members: float(dearness[members].mean()))] = True


def _step(
    alive: Alive,
    number: int,
    groups: Sequence[Group],
    cost: Cost,
    target: int,
    rules: Rules,
    dearness: NDArray[np.float64],
    kept: Kept,
) -> NDArray[np.int64]:
    """What would come back with a group's next width; nothing where the target would not hold.

    The first width of a branch that is gone brings back all that the branch consists of.
    """
    parts = [
        _next_width(alive, groups[g], rules, dearness, int(kept[g]))
        for g in rules.returning(groups, kept, number)
    ]
    members = np.concatenate(parts) if all(part.size for part in parts) else parts[0][:0]
    with_them = alive.copy()
    with_them[members] = True
    return members if cost.total(cost.kept(with_them)) <= target else members[:0]


def _next_width(
    alive: Alive, group: Group, rules: Rules, dearness: NDArray[np.float64], kept: int
) -> NDArray[np.int64]:
    """The dearest that are missing for a group's next width; none if there is no next."""
    gone = group.members[~alive[group.members]]
    wider = [width for width in rules.wider(group, kept) if width - kept <= len(gone)]
    members: NDArray[np.int64] = gone[np.argsort(-dearness[gone], kind="stable")]
    return members[: min(wider) - kept] if wider else members[:0]
