"""What a coarse last step took beyond the budget, given back where it was missed most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import Cost
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
            for number, group in enumerate(groups)
            if (members := _step(alive, number, group, cost, target, rules, dearness, int(kept[number]))).size
        ]
        if not back:
            return alive
        alive[max(back, key=lambda members: float(dearness[members].mean()))] = True


def _step(
    alive: Alive,
    number: int,
    group: Group,
    cost: Cost,
    target: int,
    rules: Rules,
    dearness: NDArray[np.float64],
    kept: int,
) -> NDArray[np.int64]:
    """What would come back with a group's next width; nothing where the target would not hold."""
    gone = group.members[~alive[group.members]]
    wider = [width for width in rules.wider(group, kept) if width - kept <= len(gone)]
    if not wider:
        return gone[:0]
    members: NDArray[np.int64] = gone[np.argsort(-dearness[gone], kind="stable")[: min(wider) - kept]]
    with_them = alive.copy()
    with_them[members] = True
    return members if cost.total(cost.kept(with_them)) <= target else gone[:0]
