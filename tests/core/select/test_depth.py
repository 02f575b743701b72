"""Groups that may go altogether: in one step, with what falls with them, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel
from sosp_core.select.greedy import shrink, smallest
from sosp_core.select.regrow import regrow
from sosp_core.select.rules import Rules
from sosp_core.structures.prices import FixedPrices
from sosp_core.structures.restrict import restrict
from sosp_core.structures.structures import Alive, Structures
from tests.core.select.test_greedy import made_of, often


@st.composite
def branching(draw: st.DrawFn) -> tuple[Structures, Rules]:
    """Some groups may go; of those some take others with them, as nested and double branches do."""
    widths = draw(st.lists(st.integers(2, 24), min_size=2, max_size=5))
    found = made_of(widths, [float(draw(st.integers(1, 5))) for _ in widths])
    keys = [int(g.members[0]) for g in found.groups]
    free = sorted(draw(st.sets(st.sampled_from(keys), min_size=1)))
    falls = {key: frozenset(draw(st.sets(st.sampled_from(keys), max_size=2))) - {key} for key in free}
    return found, Rules(round_to=draw(st.sampled_from([1, 4, 8])), max_layer_ratio=0.9, falls=falls)


def kept_of(found: Structures, alive: Alive) -> list[int]:
    return [int(alive[g.members].sum()) for g in found.groups]


def require_whole_branches(found: Structures, rules: Rules, alive: Alive) -> None:
    kept = kept_of(found, alive)
    fallen = {f for n, k in enumerate(kept) if k == 0 for f in rules.falling(found.groups, n)}
    for number, group in enumerate(found.groups):
        if kept[number] == 0:
            assert rules.vanishes(group) or number in fallen
        else:
            assert kept[number] >= rules.narrowest(group), "it rests between its floor and nothing"
            assert number not in fallen, "nothing would read it"


@often
@given(problem=branching(), target=st.integers(0, 300), seed=st.integers(0, 99))
def test_a_group_goes_whole_or_keeps_its_floor(
    problem: tuple[Structures, Rules], target: int, seed: int
) -> None:
    found, rules = problem
    cost, rng = CostModel(found, Metric.MACS), np.random.default_rng(seed)
    alive = shrink(FixedPrices(rng.random(found.count)), found.all_alive(), found.groups, cost, target, rules)
    require_whole_branches(found, rules, alive)
    left = cost.total(cost.kept(alive))
    assert left <= target or left <= smallest(cost, found.groups, rules)
    grown = regrow(alive, found.groups, cost, target, rules, rng.random(found.count))
    require_whole_branches(found, rules, grown)
    assert not (alive & ~grown).any()
    assert cost.total(cost.kept(grown)) <= max(target, left)


def test_the_last_channels_go_in_one_step() -> None:
    found = made_of([64, 64], [1.0, 1.0])
    rules = Rules(round_to=8, max_layer_ratio=0.9, falls={0: frozenset()})
    free, bound = found.groups
    assert (rules.floor(free), rules.narrowest(free), rules.floor(bound)) == (0, 8, 8)
    assert rules.steps(free, 16) == [8]
    assert rules.steps(free, 8) == [8]
    assert rules.steps(free, 0) == rules.steps(bound, 8) == []
    assert rules.wider(free, 0)[-1] == 8


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_of_several_cuts_the_last_may_take_whole_branches(share: float) -> None:
    found = made_of([64, 64], [1.0, 1.0])
    rules = Rules(round_to=8, max_layer_ratio=0.9, falls={64: frozenset({0})})
    alive = found.all_alive()
    alive[:16] = alive[64:72] = False
    left = restrict(found, alive).groups
    rest = rules.on_rest(found.groups, left, share)
    assert [rest.narrowest(g) for g in left] == [8, 8]
    assert [rest.floor(g) for g in left] == [8, 0 if share == 1.0 else 8]
    assert rest.falling(left, 1) == ([0] if share == 1.0 else [])


def test_a_branch_comes_back_with_all_it_consists_of() -> None:
    found = made_of([16, 16, 16], [1.0, 1.0, 1.0])
    rules = Rules(round_to=8, falls={0: frozenset({16}), 16: frozenset({0})})
    cost, dearness = CostModel(found, Metric.MACS), np.arange(48.0)
    alive = found.all_alive()
    alive[:32] = False
    assert kept_of(found, regrow(alive, found.groups, cost, 31, rules, dearness)) == [0, 0, 16]
    assert kept_of(found, regrow(alive, found.groups, cost, 32, rules, dearness)) == [8, 8, 16]
