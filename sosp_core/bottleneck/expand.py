"""How many structures each group gains: bottlenecks by a factor, or all alike up to a cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import floor

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import CostModel
from sosp_core.structures.structures import Group

#: For each group the number of structures that it gains.
Extra = NDArray[np.int64]

#: The common factor is found by halving an interval up to this until single structures are told apart.
LARGEST = 1024.0
HALVINGS = 48


def by_factor(groups: Sequence[Group], chosen: Collection[int], factor: float) -> Extra:
    """Multiply the width of the chosen groups; each gains one structure at least."""
    wanted = [max(1, round(len(g.members) * (factor - 1))) for g in groups]
    return np.array([n if i in chosen else 0 for i, n in enumerate(wanted)], dtype=np.int64)


def alike(groups: Sequence[Group], chosen: Collection[int], cost: CostModel, target: int) -> Extra:
    """Multiply the width of the chosen groups by one common factor, as far as ``target`` allows.

    Whole structures leave a rest: it goes, one structure a group at most, to those that fill it best.

    Args:
        groups: All groups.
        chosen: Those that may grow.
        cost: Of the network by what its groups hold.
        target: Of that cost, at least what the network has.
    """
    sizes = np.array([len(g.members) for g in groups], dtype=np.int64)
    grows = np.array([i in chosen for i in range(len(groups))])

    def extra(factor: float) -> Extra:
        wanted = [floor(n * (factor - 1)) if may else 0 for n, may in zip(sizes, grows, strict=True)]
        return np.array(wanted, dtype=np.int64)

    low, high = 1.0, LARGEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost.total(sizes + extra(middle)) <= target else (low, middle)
    return _filled(extra(low), sizes, np.flatnonzero(grows).tolist(), cost, target)


def _filled(extra: Extra, sizes: Extra, open_: list[int], cost: CostModel, target: int) -> Extra:
    """Add single structures, the dearest that fits first."""
    extra = extra.copy()
    while True:
        totals = {group: cost.total(sizes + extra + _one(group, len(sizes))) for group in open_}
        fitting = [(-total, group) for group, total in totals.items() if total <= target]
        if not fitting:
            return extra
        best = min(fitting)[1]
        extra += _one(best, len(sizes))
        open_ = [group for group in open_ if group != best]


def _one(group: int, groups: int) -> Extra:
    return np.array([i == group for i in range(groups)], dtype=np.int64)
