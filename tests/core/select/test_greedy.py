from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sosp_core.config import COUNTED, Metric
from sosp_core.cost.model import CostModel, measure, terms_of
from sosp_core.errors import TargetUnreachable
from sosp_core.select.greedy import require_reachable, schedule, shrink, smallest
from sosp_core.select.plan import Plan, layer_cuts
from sosp_core.select.regrow import regrow
from sosp_core.select.rules import Rules
from sosp_core.structures.prices import FixedPrices, QuadraticPrices
from sosp_core.structures.structures import Group, Structures, Term, kept_count
from tests.oracles.selection import cheapest_first
from tests.zoo.built import masks
from tests.zoo.everything import Case, build, each_case
from tests.zoo.graphs import CASES
from tests.zoo.graphs import build as build_graph

#: Networks with enough groups for choices to interact.
MODELS = ("conv_chain", "residual_option_b", "dense_concat", "unet", "channel_split_and_shuffle", "attention")

often = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
some = settings(often, max_examples=6)


def made_of(widths: list[int], gains: list[float]) -> Structures:
    """Groups that do not touch: each structure of group i saves ``gains[i]``."""
    edges = np.cumsum([0, *widths])
    members = [np.arange(a, b) for a, b in pairwise(edges)]
    terms = tuple(Term(coefficient=g, factors=(m,)) for g, m in zip(gains, members, strict=True))
    groups = tuple(Group(name=f"layer{i}", members=m) for i, m in enumerate(members))
    costs = dict.fromkeys(("macs", "params", "bytes"), terms)
    nothing: dict[str, tuple[()]] = dict.fromkeys(("sizes", "gates", "layers", "refusals"), ())
    return Structures(count=int(edges[-1]), slices={}, groups=groups, **costs, **nothing)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Structures, FixedPrices, Rules, int]:
    found = build_graph(CASES[draw(st.sampled_from(MODELS))]).structures
    scores = draw(st.lists(st.integers(-3, 9), min_size=found.count, max_size=found.count))
    rules = Rules(
        round_to=draw(st.sampled_from([1, 2, 4])),
        max_layer_ratio=draw(st.sampled_from([0.25, 0.5, 0.9, 1.0])),
    )
    total = measure(found, found.all_alive())[Metric.MACS]
    return found, FixedPrices(np.array(scores, float)), rules, draw(st.integers(0, total))


@often
@given(problem=problems())
def test_the_target_is_met_unless_nothing_more_may_go(
    problem: tuple[Structures, FixedPrices, Rules, int],
) -> None:
    found, prices, rules, target = problem
    cost = CostModel(found, Metric.MACS)
    alive = shrink(prices, found.all_alive(), found.groups, cost, target, rules)
    if cost.total(cost.kept(alive)) > target:
        for number, group in enumerate(found.groups):
            kept = int(alive[group.members].sum())
            step = rules.chunk(kept)
            saves = cost.gain(cost.kept(alive), number, step) > 0
            assert kept - step < rules.floor(group) or not saves


@often
@given(problem=problems())
def test_the_rules_are_kept(problem: tuple[Structures, FixedPrices, Rules, int]) -> None:
    found, prices, rules, target = problem
    cost = CostModel(found, Metric.MACS)
    alive = shrink(prices, found.all_alive(), found.groups, cost, target, rules)
    for group in found.groups:
        n, kept = len(group.members), int(alive[group.members].sum())
        assert kept >= 1
        assert n - kept <= n * rules.max_layer_ratio + 1e-9 or kept == n
        assert kept == n or kept % rules.round_to == 0


@often
@given(problem=problems(), seed=st.integers(0, 99))
def test_what_is_gone_stays_gone(problem: tuple[Structures, FixedPrices, Rules, int], seed: int) -> None:
    found, prices, rules, target = problem
    cost = CostModel(found, Metric.MACS)
    before = np.random.default_rng(seed).random(found.count) < 0.7
    for group in found.groups:
        before[group.members[0]] = True
    given_mask = before.copy()
    after = shrink(prices, before, found.groups, cost, target, rules)
    assert not (after & ~before).any()
    np.testing.assert_array_equal(before, given_mask)


@often
@given(problem=problems())
def test_the_same_problem_has_the_same_answer(problem: tuple[Structures, FixedPrices, Rules, int]) -> None:
    found, prices, rules, target = problem
    one, two = (
        shrink(prices, found.all_alive(), found.groups, CostModel(found, Metric.MACS), target, rules)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


@often
@given(problem=problems())
def test_within_a_group_the_dearest_stay(problem: tuple[Structures, FixedPrices, Rules, int]) -> None:
    found, prices, rules, target = problem
    cost = CostModel(found, Metric.MACS)
    alive = shrink(prices, found.all_alive(), found.groups, cost, target, rules)
    for group in found.groups:
        gone, kept = group.members[~alive[group.members]], group.members[alive[group.members]]
        if len(gone):
            assert prices.scores[gone].max() <= prices.scores[kept].min()


@often
@given(data=st.data(), widths=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_independent_structures_go_in_order_of_price(data: st.DataObject, widths: list[int]) -> None:
    gains = [float(data.draw(st.integers(1, 4))) for _ in widths]
    found = made_of(widths, gains)
    # All prices differ; the dearest of each group is what must stay of it in any case.
    scores = np.array(data.draw(st.permutations(range(found.count))), dtype=float)
    for group in found.groups:
        scores[group.members[np.argmax(scores[group.members])]] += found.count
    each = np.repeat(gains, widths)
    free = found.count - len(widths)
    most = sum(g * (w - 1) for g, w in zip(gains, widths, strict=True))
    target = data.draw(st.integers(int(each.sum() - most), int(each.sum())))
    cost = CostModel(found, Metric.MACS)
    alive = shrink(FixedPrices(scores), found.all_alive(), found.groups, cost, target, Rules())
    expected = cheapest_first(scores, each, each.sum() - target)
    assert set(np.flatnonzero(~alive)) == expected
    assert len(expected) <= free


def test_ties_are_broken_by_number() -> None:
    found = made_of([3, 3], [1.0, 1.0])
    alive = shrink(
        FixedPrices(np.ones(6)), found.all_alive(), found.groups, CostModel(found, Metric.MACS), 3, Rules()
    )
    assert np.flatnonzero(~alive).tolist() == [0, 1, 3]


def test_what_saves_nothing_stays() -> None:
    found = made_of([3, 3], [0.0, 1.0])
    scores = np.array([-5.0, -5, -5, 1, 2, 3])
    alive = shrink(
        FixedPrices(scores), found.all_alive(), found.groups, CostModel(found, Metric.MACS), 2, Rules()
    )
    assert np.flatnonzero(~alive).tolist() == [3]


def test_a_chunk_is_priced_as_a_whole() -> None:
    # Pairs only: (1, 8) costs 4.5 a structure, (3, 4) costs 3.5.
    found = made_of([4, 4], [1.0, 1.0])
    scores = np.array([1.0, 8, 9, 9, 3, 4, 9, 9])
    alive = shrink(
        FixedPrices(scores),
        *(found.all_alive(), found.groups, CostModel(found, Metric.MACS), 6, Rules(round_to=2)),
    )
    assert np.flatnonzero(~alive).tolist() == [4, 5]


def test_what_is_given_back_leaves_widths_round() -> None:
    """5 → 4 → 2 where 3 would do: the odd one may not come back without its pair."""
    found = made_of([5], [1.0])
    scores = np.arange(5.0)
    cost = CostModel(found, Metric.MACS)
    alive = shrink(FixedPrices(scores), found.all_alive(), found.groups, cost, 3, Rules(round_to=2))
    assert np.flatnonzero(~alive).tolist() == [0, 1, 2]


def test_what_was_not_needed_is_given_back() -> None:
    # The cheapest frees 1; the next frees 5 and would have been enough alone.
    found = made_of([2, 2], [1.0, 5.0])
    cost = CostModel(found, Metric.MACS)
    alive = shrink(FixedPrices(np.array([1.0, 9, 2, 9])), found.all_alive(), found.groups, cost, 7, Rules())
    assert np.flatnonzero(~alive).tolist() == [2]


def estimates(prices: list[float]) -> QuadraticPrices:
    """A quadratic without correlations: each structure at its own price."""
    none = np.zeros(len(prices))
    return QuadraticPrices(-np.array(prices), none, none[None].astype(np.float32))


@pytest.mark.parametrize("truth", [(5.0, 1.0), (1.0, 5.0)])
def test_what_takes_much_of_a_group_goes_by_its_measured_price(truth: tuple[float, float]) -> None:
    found = made_of([8, 8], [1.0, 1.0])
    asked: list[tuple[int, int]] = []

    def loss(alive: np.ndarray) -> float:
        gone = 8 - int(alive[:8].sum()), 8 - int(alive[8:].sum())
        asked.append(gone)
        return float(np.dot(gone, truth))

    # The estimates prefer the first group throughout.
    prices = estimates([0.1] * 8 + [0.2] * 8)
    cost = CostModel(found, Metric.MACS)
    alive = shrink(prices, found.all_alive(), found.groups, cost, 12, Rules(round_to=4), loss)
    assert (int(alive[:8].sum()), int(alive[8:].sum())) == ((8, 4) if truth[0] > truth[1] else (4, 8))
    assert (0, 0) in asked


def test_small_steps_and_mere_ranks_are_not_measured() -> None:
    def never(alive: np.ndarray) -> float:
        raise AssertionError("measured")

    found = made_of([64, 64], [1.0, 1.0])
    cost = CostModel(found, Metric.MACS)
    shrink(estimates([1.0] * 128), found.all_alive(), found.groups, cost, 100, Rules(round_to=4), never)
    ranks = FixedPrices(np.arange(128.0))
    shrink(ranks, found.all_alive(), found.groups, cost, 60, Rules(round_to=32), never)


def test_a_mask_that_breaks_the_network_is_the_last_to_be_chosen() -> None:
    found = made_of([4, 4], [1.0, 1.0])

    def loss(alive: np.ndarray) -> float:
        return float("inf") if not alive[:4].all() else float((~alive).sum())

    cost = CostModel(found, Metric.MACS)
    prices = estimates([0.1] * 4 + [0.2] * 4)
    alive = shrink(prices, found.all_alive(), found.groups, cost, 6, Rules(round_to=2), loss)
    assert alive[:4].all()


@often
@given(n=st.integers(1, 70), round_to=st.integers(1, 16), ratio=st.floats(0.01, 1.0))
def test_floors_are_reached_in_chunks(n: int, round_to: int, ratio: float) -> None:
    rules, group = Rules(round_to=round_to, max_layer_ratio=ratio), Group(name="g", members=np.arange(n))
    floor, kept = rules.floor(group), n
    assert 1 <= floor <= n
    assert n - floor <= n * ratio + 1e-6 or floor == n
    while kept - rules.chunk(kept) >= floor:
        kept -= rules.chunk(kept)
        assert kept % round_to == 0
    assert kept == floor


@pytest.mark.parametrize("metric", COUNTED)
@pytest.mark.parametrize("name", MODELS)
def test_reachable_is_what_all_floors_leave(name: str, metric: Metric) -> None:
    found = build_graph(CASES[name]).structures
    rules, cost = Rules(round_to=2, max_layer_ratio=0.5), CostModel(found, metric)
    alive = found.all_alive()
    for group in found.groups:
        alive[group.members[rules.floor(group) :]] = False
    least = measure(found, alive)[metric]
    assert smallest(cost, found.groups, rules) == least
    require_reachable(cost, found.groups, rules, least, str(metric))
    with pytest.raises(TargetUnreachable) as caught:
        require_reachable(cost, found.groups, rules, least - 1, str(metric))
    assert caught.value.details() == {"metric": str(metric), "asked": least - 1, "reachable": least}


@often
@given(total=st.integers(2, 10**9), share=st.floats(0.01, 0.99), rounds=st.integers(1, 200))
def test_a_schedule_falls_in_equal_steps_to_the_target(total: int, share: float, rounds: int) -> None:
    target = int(total * share)
    steps = schedule(total, target, rounds)
    assert len(steps) == rounds
    assert steps[-1] == target
    falls = -np.diff([total, *steps])
    assert (falls >= 0).all()
    assert falls.max() - falls.min() <= 2  # rounding of both ends


@often
@given(rows=st.integers(1, 6), count=st.integers(2, 8), seed=st.integers(0, 10**6), data=st.data())
def test_marginal_prices_equal_the_quadratic_computed_anew(
    rows: int, count: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, count)).astype(np.float32)
    g = rng.standard_normal(count)
    prices = QuadraticPrices(g, np.square(a, dtype=float).sum(axis=0), a)
    gone: list[int] = []

    def value(removed: list[int]) -> float:
        return float(-g[removed].sum() + 0.5 * np.square(a[:, removed].astype(float).sum(1)).sum())

    while len(gone) < count - 1:
        left = [s for s in range(count) if s not in gone]
        for s in left:
            # float32 rows: some tens of products of order one.
            assert prices.scores[s] == pytest.approx(value([*gone, s]) - value(gone), abs=1e-4)
        chunk = data.draw(st.lists(st.sampled_from(left), min_size=1, max_size=2, unique=True))
        prices.remove(np.array(chunk))
        gone += chunk


def test_correlated_structures_are_not_removed_together() -> None:
    """Two copies of one feature: either may go for little, both may not."""
    a = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.2]], dtype=np.float32)
    found = made_of([3], [1.0])
    greedy = QuadraticPrices(np.zeros(3), np.square(a).sum(axis=0), a)
    alive = shrink(greedy, found.all_alive(), found.groups, CostModel(found, Metric.MACS), 1, Rules())
    assert np.flatnonzero(~alive).tolist() == [0, 2]
    blind = FixedPrices(0.5 * np.square(a).sum(axis=0))
    alive = shrink(blind, found.all_alive(), found.groups, CostModel(found, Metric.MACS), 1, Rules())
    assert np.flatnonzero(~alive).tolist() == [0, 1]


@each_case
@some
@given(data=st.data())
def test_the_cost_model_equals_its_terms_evaluated_one_by_one(case: Case, data: st.DataObject) -> None:
    found = build(case).structures
    if found.count == 0:
        return
    alive = data.draw(masks(found))
    for metric in COUNTED:
        direct = sum(
            t.coefficient * float(np.prod([kept_count(f, alive) for f in t.factors] or [1.0]))
            for t in terms_of(found, metric)
        )
        cost = CostModel(found, metric)
        assert cost.total(cost.kept(alive)) == round(direct) == measure(found, alive)[metric]


@each_case
@some
@given(data=st.data())
def test_a_gain_is_the_difference_of_two_totals(case: Case, data: st.DataObject) -> None:
    found = build(case).structures
    alive = data.draw(masks(found))
    for number, group in enumerate(found.groups):
        left = group.members[alive[group.members]]
        n = data.draw(st.integers(0, len(left)))
        fewer = alive.copy()
        fewer[left[:n]] = False
        for metric in COUNTED:
            cost = CostModel(found, metric)
            gain = cost.gain(cost.kept(alive), number, n)
            saved = measure(found, alive)[metric] - measure(found, fewer)[metric]
            assert gain == pytest.approx(saved, abs=1.0)  # totals are whole numbers


@pytest.mark.parametrize("name", MODELS)
def test_only_neighbours_change_each_others_gain(name: str) -> None:
    found = build_graph(CASES[name]).structures
    cost = CostModel(found, Metric.MACS)
    whole = cost.kept(found.all_alive())
    for g in range(len(found.groups)):
        fewer = whole.copy()
        fewer[g] -= 1
        changed = {h for h in range(len(found.groups)) if cost.gain(whole, h, 1) != cost.gain(fewer, h, 1)}
        assert changed - {g} <= set(cost.neighbours(g))
        assert g in cost.neighbours(g)


def test_a_plan_lists_what_each_group_keeps() -> None:
    found = build_graph(CASES["conv_chain"]).structures
    alive = found.all_alive()
    alive[[0, 5, 8]] = False
    plan = Plan(
        alive=alive,
        before=measure(found, found.all_alive()),
        after=measure(found, alive),
        layers=layer_cuts(found, alive),
    )
    told = plan.to_json(found)
    assert told["groups"] == [
        {"name": "Conv_0", "structures": 6, "kept": [1, 2, 3, 4]},
        {"name": "Conv_3", "structures": 5, "kept": [0, 1, 3, 4]},
    ]
    assert told["layers"] == [
        {"node": "Conv_0", "before": 6, "after": 4},
        {"node": "Conv_3", "before": 5, "after": 4},
    ]
    assert told["before"]["structures"] - told["after"]["structures"] == 3


def test_what_the_last_step_took_too_much_comes_back_dearest_first() -> None:
    """Three groups; the first gave all it may, and left room for one step of another."""
    found = made_of([8, 8, 8], [10.0, 2.0, 1.0])
    cost = CostModel(found, Metric.MACS)
    alive = found.all_alive()
    alive[[0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]] = False
    dearness = np.zeros(found.count)
    dearness[16:20], dearness[[8, 9]], dearness[[10, 11]] = 1.0, 3.0, 2.0
    left = cost.total(cost.kept(alive))
    rules = Rules(round_to=2)
    back = regrow(alive, found.groups, cost, left + 5, rules, dearness)
    assert list(np.flatnonzero(back & ~alive)) == [8, 9]  # the dearer two of the group; no other step fits
    assert regrow(alive, found.groups, cost, left + 1, rules, dearness).sum() == alive.sum()
    everything = regrow(alive, found.groups, cost, cost.total(cost.kept(found.all_alive())), rules, dearness)
    assert everything.all()


@often
@given(problem=problems())
def test_giving_back_keeps_the_target_and_the_grid(
    problem: tuple[Structures, FixedPrices, Rules, int],
) -> None:
    found, prices, rules, target = problem
    cost = CostModel(found, Metric.MACS)
    alive = shrink(prices, found.all_alive(), found.groups, cost, target, rules)
    back = regrow(alive, found.groups, cost, target, rules, prices.scores)
    assert not (alive & ~back).any()
    left = cost.total(cost.kept(alive))
    assert cost.total(cost.kept(back)) <= max(target, left)
    for group in found.groups:
        kept, before = int(back[group.members].sum()), int(alive[group.members].sum())
        assert kept == before or kept in rules.wider(group, before)
