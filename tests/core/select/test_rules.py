"""Floors, ceilings and widths hold in every plan; where time is the cost, nothing wider is free."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel, Kept
from sosp_core.select.correct import PROMISED, TRIES, best, correct
from sosp_core.select.frontier import HARMLESS, recommended, unbeaten
from sosp_core.select.greedy import shrink, smallest
from sosp_core.select.rules import Bounds, Rules
from sosp_core.select.search import FINALS, bisect, verify
from sosp_core.select.wider import take_wider
from sosp_core.structures.prices import FixedPrices
from sosp_core.structures.restrict import restrict
from sosp_core.structures.structures import Alive, Structures
from tests.core.select.test_greedy import made_of, often


@st.composite
def bounded(draw: st.DrawFn) -> tuple[Structures, Rules]:
    widths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    found = made_of(widths, [1.0] * len(widths))
    bounds = {}
    for group, n in zip(found.groups, widths, strict=True):
        fewest = draw(st.none() | st.integers(1, n))
        most = draw(st.none() | st.integers(fewest or 1, n))
        bounds[int(group.members[0])] = Bounds(whole=n, fewest=fewest, most=most)
    return found, Rules(round_to=draw(st.sampled_from([1, 4, 8])), max_layer_ratio=0.9, bounds=bounds)


@often
@given(problem=bounded(), target=st.integers(0, 80), seed=st.integers(0, 99))
def test_bounds_hold_whatever_the_target(problem: tuple[Structures, Rules], target: int, seed: int) -> None:
    found, rules = problem
    cost = CostModel(found, Metric.MACS)
    prices = FixedPrices(np.random.default_rng(seed).random(found.count))
    alive = shrink(prices, found.all_alive(), found.groups, cost, target, rules)
    for group in found.groups:
        kept = int(alive[group.members].sum())
        bounds = rules.bounds[int(group.members[0])]
        assert kept >= (bounds.fewest or 1)
        assert kept <= (bounds.most or len(group.members))
    least = smallest(cost, found.groups, rules)
    assert cost.total(cost.kept(alive)) >= least
    if target <= least:
        assert cost.total(cost.kept(alive)) == least


@often
@given(problem=bounded(), rounds=st.integers(1, 5))
def test_ceilings_are_reached_in_rounds(problem: tuple[Structures, Rules], rounds: int) -> None:
    found, rules = problem
    cost = CostModel(found, Metric.MACS)
    alive, prices = found.all_alive(), FixedPrices(np.arange(found.count, dtype=float))
    for i in range(rounds):
        alive = shrink(prices, alive, found.groups, cost, found.count, rules.eased((i + 1) / rounds))
    for group in found.groups:
        most = rules.bounds[int(group.members[0])].most
        assert int(alive[group.members].sum()) <= (most or len(group.members))


def test_an_exact_width_may_lie_off_the_grid() -> None:
    found = made_of([32], [1.0])
    rules = Rules(round_to=8, bounds={0: Bounds(whole=32, fewest=12, most=12)})
    cost, prices = CostModel(found, Metric.MACS), FixedPrices(np.arange(32.0))
    assert int(shrink(prices, found.all_alive(), found.groups, cost, 32, rules).sum()) == 12


class Oracle:
    """A latency drawn at random for every combination of widths."""

    def __init__(self, found: Structures, seed: int) -> None:
        self._groups = found.groups
        shape = [len(g.members) + 1 for g in found.groups]
        self._table = np.random.default_rng(seed).integers(1, 30, shape)

    def kept(self, alive: Alive) -> Kept:
        return np.array([int(alive[g.members].sum()) for g in self._groups], dtype=np.int64)

    def total(self, kept: Kept) -> int:
        return int(self._table[tuple(kept)])

    def gain(self, kept: Kept, group: int, n: int) -> float:
        fewer = kept.copy()
        fewer[group] -= n
        return float(self.total(kept) - self.total(fewer))


@often
@given(widths=st.lists(st.integers(2, 8), min_size=1, max_size=3), seed=st.integers(0, 10**6))
def test_no_plan_leaves_a_width_that_a_wider_one_beats(widths: list[int], seed: int) -> None:
    found = made_of(widths, [1.0] * len(widths))
    cost, rng = Oracle(found, seed), np.random.default_rng(seed)
    alive = rng.random(found.count) < 0.5
    for group in found.groups:
        alive[group.members[0]] = True
    dearness = rng.random(found.count)
    wide = take_wider(alive, found.all_alive(), found.groups, cost, Rules(), dearness)
    assert not (alive & ~wide).any()
    kept = cost.kept(wide)
    assert cost.total(kept) <= cost.total(cost.kept(alive))
    for number, n in enumerate(widths):
        for width in range(int(kept[number]) + 1, n + 1):
            more = kept.copy()
            more[number] = width
            assert cost.total(more) > cost.total(kept), "a wider layer is not slower"
    for group in found.groups:
        back = group.members[wide[group.members] & ~alive[group.members]]
        gone = group.members[~wide[group.members]]
        if len(back) and len(gone):
            assert dearness[back].min() >= dearness[gone].max()


@often
@given(
    bias=st.floats(0.8, 1.3),
    curvature=st.floats(-0.1, 0.1),
    noise=st.floats(0, 0.005),
    seed=st.integers(0, 999),
)
def test_a_biased_table_is_corrected(bias: float, curvature: float, noise: float, seed: int) -> None:
    """The clock says ``bias`` times the table, more so the further it goes, within some noise."""
    rng = np.random.default_rng(seed)

    def clock(aim: float) -> float:
        return bias * aim * (1 + curvature * (1 - aim)) * (1 + noise * float(rng.uniform(-1, 1)))

    attempts = correct(lambda aim: aim, clock, lambda a, b: a == b)
    assert len(attempts) <= TRIES
    assert abs(best(attempts).reached - 1) <= PROMISED


@pytest.mark.parametrize("step", [0.04, 0.11, 0.3])
def test_where_plans_come_in_steps_the_nearest_allowed_one_is_taken(step: float) -> None:
    calls: list[float] = []

    def make(aim: float) -> float:
        calls.append(aim)
        return float(np.floor(aim / step) * step)

    attempts = correct(make, lambda made: made * 1.2, lambda a, b: a == b)
    assert len(calls) <= TRIES + 1
    steps = [k * step * 1.2 for k in range(1, 40)]
    reachable = max((s for s in steps if s <= 1 + PROMISED), default=steps[0])
    assert best(attempts).reached == pytest.approx(reachable) or abs(best(attempts).reached - 1) <= PROMISED


def test_no_aim_asks_for_nothing() -> None:
    """Where the mildest plan is quicker than it has to be, the original would use the budget best."""
    aims: list[float] = []

    def make(aim: float) -> float:
        aims.append(aim)
        return 1.0 if aim >= 1.02 else 0.5

    attempts = correct(make, lambda share: share / 0.98, lambda a, b: a == b, whole=1.02)
    assert max(aims) < 1.02
    assert best(attempts).result == 0.5


@often
@given(truth=st.floats(0.15, 0.999), least=st.floats(0.01, 0.14))
def test_bisection_closes_in_on_the_smallest_allowed_share(truth: float, least: float) -> None:
    """The drop passes what is allowed exactly below ``truth``."""

    def drop(keep: float) -> float:
        return 0.0 if keep >= truth else 1.0

    tried = bisect(drop, 0.5, least)
    chosen = min((t.keep for t in tried if t.allowed), default=1.0)
    assert truth <= chosen <= truth + (1 - least) / 2 ** len(tried) + 1e-9
    finals = verify(drop, 0.5, tried, least)
    assert finals[-1].allowed or all(t.keep < truth for t in finals)
    assert all(t.final for t in finals)


@pytest.mark.parametrize(("needed", "tries"), [(0.5, 1), (0.7, 2), (0.87, 3), (0.95, 3)])
def test_a_final_that_misses_steps_back(needed: float, tries: int) -> None:
    tried = bisect(lambda keep: 0.0 if keep >= 0.5 else 1.0, 0.01, 0.0)
    finals = verify(lambda keep: 0.0 if keep >= needed else 1.0, 0.01, tried, 0.0)
    assert len(finals) == tries <= FINALS
    assert finals[-1].allowed == (needed <= 0.875)


def test_where_all_shares_are_one_the_smallest_is_tried_in_earnest() -> None:
    tried = bisect(lambda _: 1.0, 0.01, 0.99)
    assert tried == []
    assert [t.keep for t in verify(lambda _: 0.0, 0.01, tried, 0.99)] == [0.99]


points = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6)


@often
@given(points=points)
def test_the_frontier_is_what_no_point_beats(points: list[tuple[int, int]]) -> None:
    times, goods = [float(t) for t, _ in points], [float(g) for _, g in points]
    found = unbeaten(times, goods)
    for i, j in product(range(len(points)), repeat=2):
        beats = times[j] <= times[i] and goods[j] >= goods[i] and points[i] != points[j]
        assert not (found[i] and beats)
    assert any(found)
    for i, free in enumerate(found):
        if not free:
            assert any(found[j] and times[j] <= times[i] and goods[j] >= goods[i] for j in range(len(points)))


def test_the_quickest_harmless_point_stands_for_a_sweep() -> None:
    assert recommended([0.8, 0.5, 0.3], [0.0, HARMLESS, 0.2]) == 1
    assert recommended([0.8, 0.5, 0.3], [0.03, 0.02, 0.2]) == 1


@often
@given(problem=bounded(), target=st.integers(0, 80), share=st.floats(0, 1), again=st.integers(0, 80))
def test_limits_of_the_whole_hold_for_what_is_left(
    problem: tuple[Structures, Rules], target: int, share: float, again: int
) -> None:
    """Two cuts leave no group below a floor that one cut would have kept, nor above the last ceiling."""
    found, rules = problem
    first = shrunk(found, rules.eased(share), target)
    rest = restrict(found, first)
    then = rules.on_rest(found.groups, rest.groups, 1.0)
    second = shrunk(rest, then, again)
    for whole, left in zip(found.groups, rest.groups, strict=True):
        kept = int(second[left.members].sum())
        assert min(rules.floor(whole), len(left.members)) <= kept <= rules.ceiling(whole)
        assert then.floor(left) == min(rules.floor(whole), len(left.members))


def shrunk(found: Structures, rules: Rules, target: int) -> Alive:
    prices = FixedPrices(np.ones(found.count))
    cost = CostModel(found, Metric.STRUCTURES)
    return shrink(prices, found.all_alive(), found.groups, cost, target, rules)
