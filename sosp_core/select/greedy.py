"""Remove the cheapest structures per unit of budget until the budget is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel
from sosp_core.errors import TargetUnreachable
from sosp_core.structures.structures import Alive, Group

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a plan may not do.

    Attributes:
        round_to: Groups shrink to multiples of this, as far as they were ones.
        max_layer_ratio: Largest share a group may lose; it never loses its last structure.
    """

    round_to: int = 1
    max_layer_ratio: float = 1.0

    def floor(self, group: Group) -> int:
        """The fewest structures the group may keep."""
        n = len(group.members)
        fewest = max(1, n - int(n * self.max_layer_ratio + 1e-9))
        return min(n, ceil(fewest / self.round_to) * self.round_to)

    def chunk(self, kept: int) -> int:
        """How many structures go in one step from a group that keeps ``kept``."""
        return kept % self.round_to or self.round_to


def smallest(cost: CostModel, groups: Sequence[Group], rules: Rules) -> int:
    """The least of the metric that any plan under these rules can leave."""
    return cost.total(np.array([rules.floor(g) for g in groups], dtype=np.int64))


def require_reachable(
    cost: CostModel, groups: Sequence[Group], rules: Rules, target: int, metric: Metric
) -> None:
    """Check a target before any score is taken.

    Raises:
        TargetUnreachable: No plan under these rules leaves so little.
    """
    reachable = smallest(cost, groups, rules)
    if reachable > target:
        raise TargetUnreachable(metric=str(metric), asked=target, reachable=reachable)


def shrink(
    scores: Scores, alive: Alive, groups: Sequence[Group], cost: CostModel, target: int, rules: Rules
) -> Alive:
    """Remove chunks of structures, least score per unit saved first, until ``target`` is met.

    Ties are broken by group and structure number, so the result depends on the arguments only.
    Stops early if nothing more may go; see ``require_reachable``.

    Args:
        scores: ``[S]``; a chunk's price is their sum.
        alive: What is there now; never grows.
        groups: The partition of the structures.
        cost: The metric that ``target`` counts.
        target: Amount that may be left.
        rules: What a plan may not do.
    """
    alive = alive.copy()
    queues = [_cheapest_first(scores, alive, group) for group in groups]
    kept = cost.kept(alive)
    floors = [rules.floor(group) for group in groups]
    price = np.full(len(groups), inf)

    def reprice(g: int) -> None:
        n = rules.chunk(int(kept[g]))
        if kept[g] - n < floors[g]:
            price[g] = inf
            return
        saved = cost.gain(kept, g, n)
        price[g] = float(scores[queues[g][:n]].sum()) / saved if saved > 0 else inf

    for g in range(len(groups)):
        reprice(g)
    while cost.total(kept) > target and price[best := int(np.argmin(price))] < inf:
        n = rules.chunk(int(kept[best]))
        alive[queues[best][:n]] = False
        queues[best] = queues[best][n:]
        kept[best] -= n
        for g in cost.neighbours(best):
            reprice(g)
    return alive


def _cheapest_first(scores: Scores, alive: Alive, group: Group) -> NDArray[np.int64]:
    members = group.members[alive[group.members]]
    return members[np.argsort(scores[members], kind="stable")]


def schedule(total: int, target: int, rounds: int) -> list[int]:
    """Targets of the rounds: equal steps from ``total`` down to ``target``."""
    return [round(total - (total - target) * (i + 1) / rounds) for i in range(rounds - 1)] + [target]
