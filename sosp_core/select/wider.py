"""Where time is the cost, a narrower layer can be a slower one: then take the wider."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import Cost
from sosp_core.select.rules import Rules
from sosp_core.structures.structures import Alive, Group


def take_wider(
    alive: Alive,
    before: Alive,
    groups: Sequence[Group],
    cost: Cost,
    rules: Rules,
    dearness: NDArray[np.float64],
) -> Alive:
    """Give structures back wherever that makes nothing slower, until no group has such a width left.

    Ends, since every exchange widens a group. The result costs no more than ``alive``.

    Args:
        alive: The plan.
        before: What there was to choose from; nothing else comes back.
        groups: The partition of the structures.
        cost: By the table.
        rules: Ceilings hold.
        dearness: ``[S]``, the dearest come back first.
    """
    alive = alive.copy()
    changed = True
    while changed:
        changed = False
        for number, group in enumerate(groups):
            gone = group.members[before[group.members] & ~alive[group.members]]
            if n := _most_for_free(alive, number, len(gone), group, cost, rules):
                alive[gone[np.argsort(-dearness[gone], kind="stable")[:n]]] = True
                changed = True
    return alive


def _most_for_free(alive: Alive, number: int, most: int, group: Group, cost: Cost, rules: Rules) -> int:
    """How many more structures a group can keep at no cost."""
    kept = cost.kept(alive)
    now = int(kept[number])
    for width in rules.wider(group, now):
        if width > now + most:
            continue
        more = kept.copy()
        more[number] = width
        if cost.gain(more, number, width - now) <= 0:
            return width - now
    return 0
