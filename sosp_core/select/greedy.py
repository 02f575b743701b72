"""Remove the cheapest structures, the whole network over, until the budget is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel, Kept
from sosp_core.errors import TargetUnreachable
from sosp_core.structures.prices import Prices
from sosp_core.structures.structures import Alive, Group

#: Mean loss over the calibration data at a mask.
Measure = Callable[[Alive], float]

#: A chunk of this share of its group, or more, lies too far away for an expansion.
FAR = 1 / 8


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
    prices: Prices,
    alive: Alive,
    groups: Sequence[Group],
    cost: CostModel,
    target: int,
    rules: Rules,
    measure: Measure | None = None,
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
        measure: The loss at a mask, if prices estimate its rise. An expansion around what is there
            says little about a chunk that takes much of a group: no such chunk goes unmeasured.

    Cost: for each chunk removed, one offer of every group, see ``prices``, and a few measurements.
    """
    alive = alive.copy()
    scale = _Scale(measure if prices.commensurable else None, len(groups))
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
        best = scale.best(offers, alive)
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
    """A chunk that may go.

    Attributes:
        price: Of all of it, as estimated.
        saved: Of the metric; 0 where prices only rank.
        far: Whether it takes so much of its group that the estimate has to be measured.
    """

    group: int
    members: NDArray[np.int64]
    price: float
    saved: float
    far: bool

    def rank(self, correction: float) -> float:
        """Smaller goes first: the price of what is saved."""
        price = self.price + correction
        if not self.saved:
            return price / len(self.members)
        # A removal that lowers the loss is the better, the more it saves besides.
        return price / self.saved if price > 0 else price * self.saved


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
    return _Offer(
        group=number,
        members=chosen,
        price=price,
        saved=saved if prices.commensurable else 0,
        far=n > 1 and n >= FAR * int(kept[number]),
    )


class _Scale:
    """Weighs offers; puts those on the scale that would win by an estimate not to be trusted.

    What a measurement adds to an estimate is remembered by group, until the next one.
    """

    def __init__(self, measure: Measure | None, groups: int) -> None:
        self._measure = measure
        self._corrections = np.zeros(groups)
        self._loss: float | None = None

    def best(self, offers: Sequence[_Offer], alive: Alive) -> _Offer:
        measured: dict[int, float] = {}
        while True:
            offer = min(offers, key=lambda o: o.rank(float(self._corrections[o.group])))
            if self._measure is None or not offer.far or offer.group in measured:
                self._loss = measured.get(offer.group)
                return offer
            if self._loss is None:
                self._loss = self._measure(alive)
            without = alive.copy()
            without[offer.members] = False
            measured[offer.group] = self._measure(without)
            # Where the loss is no number already, nothing can make it rise.
            rise = measured[offer.group] - self._loss if isfinite(self._loss) else 0.0
            self._corrections[offer.group] = rise - offer.price


def schedule(total: int, target: int, rounds: int) -> list[int]:
    """Targets of the rounds: equal steps from ``total`` down to ``target``."""
    return [round(total - (total - target) * (i + 1) / rounds) for i in range(rounds - 1)] + [target]
