"""Remove the cheapest structures, the whole network over, until the budget is met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import Cost, Kept
from sosp_core.errors import TargetUnreachable
from sosp_core.select.rules import Rules
from sosp_core.structures.prices import Prices
from sosp_core.structures.structures import Alive, Group

#: Mean loss over the calibration data at a mask.
Measure = Callable[[Alive], float]

#: A chunk of this share of its group, or more, lies too far away for an expansion.
FAR = 1 / 8


def smallest(cost: Cost, groups: Sequence[Group], rules: Rules) -> int:
    """The least of the metric that any plan under these rules can leave."""
    kept = np.array([rules.floor(g) for g in groups], dtype=np.int64)
    for number in np.flatnonzero(kept == 0):
        kept[rules.falling(groups, int(number))] = 0
    return cost.total(kept)


def require_reachable(
    cost: Cost, groups: Sequence[Group], rules: Rules, target: int, unit: str, doubt: float = 0.0
) -> None:
    """Check a target, so many of a unit, before any score is taken.

    Args:
        cost: The metric of the target.
        groups: The partition of the structures.
        rules: What a plan may not do.
        target: Amount that may be left.
        unit: What it counts, for the error.
        doubt: Share of the target by which the cost may be wrong.

    Raises:
        TargetUnreachable: No plan under these rules leaves so little.
    """
    reachable = smallest(cost, groups, rules)
    if reachable > target * (1 + doubt):
        raise TargetUnreachable(metric=unit, asked=target, reachable=reachable)


def shrink(
    prices: Prices,
    alive: Alive,
    groups: Sequence[Group],
    cost: Cost,
    target: int,
    rules: Rules,
    measure: Measure | None = None,
    capacity: Cost | None = None,
) -> Alive:
    """Remove chunks of structures, lowest price first, until ``target`` is met.

    Ties are broken by group and structure number, so the result depends on the arguments only.
    Groups wider than their ceiling go first. Stops early if nothing more may go; see
    ``require_reachable``.

    Args:
        prices: What a chunk costs, by the structure; told of every removal.
        alive: What is there now; never grows.
        groups: The partition of the structures.
        cost: The metric that ``target`` counts; a chunk that saves none of it stays.
        target: Amount that may be left.
        rules: What a plan may not do.
        measure: The loss at a mask, if prices estimate its rise. An expansion around what is there
            says little about a chunk that takes much of a group: no such chunk goes unmeasured.
        capacity: The number of parameters, for prices that ask for it.

    Cost: for each chunk removed, one offer of every group, see ``prices``, and a few measurements.
    """
    alive = alive.copy()
    scale = _Scale(measure if prices.measurable else None, len(groups))
    kept = cost.kept(alive)
    removed: list[_Offer] = []
    while True:
        wide = [g for g, group in enumerate(groups) if kept[g] > rules.ceiling(group)]
        if not wide and cost.total(kept) <= target:
            break
        offers = [
            offer
            for g in wide or range(len(groups))
            if (offer := _offer(prices, alive, groups, g, kept, rules, cost, capacity)) is not None
        ]
        if not offers:
            break
        best = scale.best(offers, alive)
        alive[best.members] = False
        kept = cost.kept(alive)
        prices.remove(best.members)
        removed.append(best)
    ceilings = [rules.ceiling(group) for group in groups]
    return _refill(alive, removed, cost, target, ceilings)


def _refill(
    alive: Alive, removed: Sequence[_Offer], cost: Cost, target: int, ceilings: Sequence[int]
) -> Alive:
    """Give back what the last, largest chunks overshot: dearest first, as long as the target holds.

    A group whose last chunk is needed gets no earlier one: its width would not be round, or nothing
    would read it.
    """
    needed: set[int] = set()
    for offer in reversed(removed):
        if needed.intersection((offer.group, *offer.fallen)):
            needed |= {offer.group, *offer.fallen}
            continue
        alive[offer.members] = True
        kept = cost.kept(alive)
        if cost.total(kept) > target or kept[offer.group] > ceilings[offer.group]:
            alive[offer.members] = False
            needed |= {offer.group, *offer.fallen}
    return alive


@dataclass(frozen=True)
class _Offer:
    """A chunk that may go.

    Attributes:
        members: Of the group, and of those that fall with it.
        price: Of all of it, as estimated.
        worth: What its removal is worth.
        far: Whether it takes so much of its group that the estimate has to be measured.
    """

    group: int
    fallen: tuple[int, ...]
    members: NDArray[np.int64]
    price: float
    worth: float
    far: bool

    def rank(self, correction: float) -> float:
        """Smaller goes first: the price of what it is worth."""
        price = self.price + correction
        # A removal that lowers the loss is the better, the more it saves besides.
        return price / self.worth if price > 0 else price * self.worth


def _offer(
    prices: Prices,
    alive: Alive,
    groups: Sequence[Group],
    number: int,
    kept: Kept,
    rules: Rules,
    cost: Cost,
    capacity: Cost | None,
) -> _Offer | None:
    """The cheapest chunk a group can give, if it can give one that saves something."""
    group = groups[number]
    forced = kept[number] > rules.ceiling(group)
    fallen: list[int] = []
    for n in rules.steps(group, int(kept[number])):
        fallen = rules.falling(groups, number) if n == kept[number] else []
        saved = _gain(cost, kept, number, n, fallen)
        if saved > 0 or forced:
            break
    else:
        return None
    # What falls is silent once its last reader is gone: it costs nothing more.
    chosen, price = prices.cheapest(group.members[alive[group.members]], n)
    others = [m for g in fallen for m in groups[g].members[alive[groups[g].members]]]
    return _Offer(
        group=number,
        fallen=tuple(fallen),
        members=np.concatenate([chosen, np.array(others, dtype=np.int64)]),
        price=price,
        worth=prices.worth.of(n + len(others), saved, _gain(capacity or cost, kept, number, n, fallen)),
        far=n > 1 and n >= FAR * int(kept[number]),
    )


def _gain(cost: Cost, kept: Kept, number: int, n: int, fallen: Sequence[int]) -> float:
    """What removing ``n`` structures of a group saves, with all of those that fall."""
    if not fallen:
        return cost.gain(kept, number, n)
    left = kept.copy()
    left[number] -= n
    left[list(fallen)] = 0
    return cost.total(kept) - cost.total(left)


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
