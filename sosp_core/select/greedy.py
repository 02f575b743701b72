"""Remove the cheapest structures, the whole network over, until the budget is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel, Kept
from sosp_core.errors import TargetUnreachable
from sosp_core.structures.prices import Prices
from sosp_core.structures.structures import Alive, Group


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
    prices: Prices, alive: Alive, groups: Sequence[Group], cost: CostModel, target: int, rules: Rules
) -> Alive:
    """Remove chunks of structures, lowest price first, until ``target`` is met.

    Ties are broken by group and structure number, so the result depends on the arguments only.
    Stops early if nothing more may go; see ``require_reachable``.

    Args:
        prices: What a chunk costs, by the structure; told of every removal.
        alive: What is there now; never grows.
        groups: The partition of the structures.
        cost: The metric that ``target`` counts; a chunk that saves none of it stays.
        target: Amount that may be left.
        rules: What a plan may not do.

    Cost: for each chunk removed, one offer of every group; see ``prices``.
    """
    alive = alive.copy()
    kept = cost.kept(alive)
    removed: list[_Offer] = []
    while cost.total(kept) > target:
        offers = [
            offer
            for g, group in enumerate(groups)
            if (offer := _offer(prices, alive, group, g, kept, rules, cost)) is not None
        ]
        if not offers:
            break
        best = min(offers, key=lambda offer: offer.rank)
        alive[best.members] = False
        kept = cost.kept(alive)
        prices.remove(best.members)
        removed.append(best)
    return _refill(alive, removed, cost, target)


def _refill(alive: Alive, removed: Sequence[_Offer], cost: CostModel, target: int) -> Alive:
    """Give back what the last, largest chunks overshot: dearest first, as long as the target holds.

    A group whose last chunk is needed gets no earlier one: its width would not be round.
    """
    needed: set[int] = set()
    for offer in reversed(removed):
        if offer.group in needed:
            continue
        alive[offer.members] = True
        if cost.total(cost.kept(alive)) > target:
            alive[offer.members] = False
            needed.add(offer.group)
    return alive


@dataclass(frozen=True)
class _Offer:
    rank: float
    group: int
    members: NDArray[np.int64]


def _offer(
    prices: Prices, alive: Alive, group: Group, number: int, kept: Kept, rules: Rules, cost: CostModel
) -> _Offer | None:
    """The cheapest chunk a group can give, if it can give one that saves something."""
    n = rules.chunk(int(kept[number]))
    if kept[number] - n < rules.floor(group):
        return None
    saved = cost.gain(kept, number, n)
    if saved <= 0:
        return None
    chosen, price = prices.cheapest(group.members[alive[group.members]], n)
    if not prices.commensurable:
        return _Offer(price / n, number, chosen)
    # A removal that lowers the loss is the better, the more it saves besides.
    return _Offer(price / saved if price > 0 else price * saved, number, chosen)


def schedule(total: int, target: int, rounds: int) -> list[int]:
    """Targets of the rounds: equal steps from ``total`` down to ``target``."""
    return [round(total - (total - target) * (i + 1) / rounds) for i in range(rounds - 1)] + [target]
