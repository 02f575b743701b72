"""Prices of chunks against the quadratic written out in full."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sosp_core.structures.correlations import Correlations
from sosp_core.structures.prices import AbsolutePrices, FixedPrices, QuadraticPrices, Worth
from tests.core.select.test_greedy import made_of


def quadratic(gradient: np.ndarray, rows: np.ndarray, removed: list[int]) -> float:
    return float(-gradient[removed].sum() + 0.5 * np.square(rows[:, removed].sum(axis=1)).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_price_of_a_chunk_is_the_rise_of_the_quadratic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradient, rows = rng.standard_normal(9), rng.standard_normal((6, 9)).astype(np.float32)
    prices = QuadraticPrices(gradient, np.square(rows, dtype=float).sum(axis=0), rows)
    gone = [2, 5]
    prices.remove(np.array(gone))
    chosen, price = prices.cheapest(np.array([0, 1, 3, 4, 6]), 3)
    rise = quadratic(gradient, rows, [*gone, *chosen]) - quadratic(gradient, rows, gone)
    # Terms of order 10 in float32 that cancel: their rounding, not the sum's, is the scale.
    assert price == pytest.approx(rise, rel=1e-5, abs=1e-5)
    assert len(set(chosen)) == 3
    assert set(chosen) <= {0, 1, 3, 4, 6}


def test_a_chunk_of_one_is_the_best_one_and_two_that_cancel_go_together() -> None:
    # Removing 0 and 1 together changes nothing; each alone costs 8, and 2 costs 1/2, 3 costs 2.
    rows = np.array([[4, -4, 1, 2]], dtype=np.float32)
    prices = QuadraticPrices(np.zeros(4), np.square(rows).sum(axis=0), rows)
    everything = np.arange(4)
    assert [int(i) for i in prices.cheapest(everything, 1)[0]] == [2]
    _, pair = prices.cheapest(np.array([0, 1]), 2)
    assert pair == 0.0
    exact = min(quadratic(np.zeros(4), rows, list(c)) for c in combinations(range(4), 1))
    assert prices.cheapest(everything, 1)[1] == exact


@pytest.mark.parametrize("kind", [QuadraticPrices, AbsolutePrices])
@pytest.mark.parametrize("room", [0, 4 * 12 * 12, 2**20])
@given(seed=st.integers(0, 999), n=st.integers(1, 8))
def test_within_a_group_the_choice_is_the_same(
    kind: type[QuadraticPrices] | type[AbsolutePrices], room: int, seed: int, n: int
) -> None:
    """With room for the correlations of no group, of one, and of all; and across groups."""
    rng = np.random.default_rng(seed)
    gradient, rows = rng.standard_normal(32), rng.standard_normal((6, 32)).astype(np.float32)
    groups = made_of([12, 20], [1.0, 1.0]).groups
    expansion = (gradient, np.square(rows, dtype=float).sum(axis=0), rows)
    alone, grouped = kind(*expansion), kind(*expansion, groups)
    grouped._correlations = Correlations(rows, groups, room)
    gone = rng.choice(32, size=9, replace=False)
    alone.remove(gone)
    grouped.remove(gone)
    alive = np.setdiff1d(np.arange(32), gone)
    for members in (alive[alive < 12], alive[alive >= 12], alive):
        few = min(n, len(members))
        (chosen, price), (expected, dear) = (p.cheapest(members, few) for p in (grouped, alone))
        assert chosen.tolist() == expected.tolist()
        assert price == pytest.approx(dear, rel=1e-4, abs=1e-4)


def test_fixed_prices_add_up_and_break_ties_by_number() -> None:
    prices = FixedPrices(np.array([3.0, 1.0, 1.0, 2.0]))
    chosen, price = prices.cheapest(np.arange(4), 2)
    assert chosen.tolist() == [1, 2]
    assert price == 2.0


@given(
    layers=st.integers(1, 50),
    saved=st.floats(1, 1e9),
    parameters=st.floats(1, 1e6),
    n=st.integers(1, 64),
)
def test_running_through_many_layers_changes_no_price_of_worth(
    layers: int, saved: float, parameters: float, n: int
) -> None:
    """A structure of k equal layers costs and saves k times as much: no more and no less attractive."""
    for worth in (Worth.SAVED, Worth.CAPACITY):
        one = worth.of(n, saved, parameters)
        assert worth.of(n, layers * saved, layers * parameters) == pytest.approx(layers * one)


def test_capacity_prefers_what_saves_much_with_few_parameters() -> None:
    early, late = Worth.CAPACITY.of(1, 1000, 10), Worth.CAPACITY.of(1, 1000, 160)
    assert early == pytest.approx(4 * late)
    assert Worth.SAVED.of(1, 1000, 10) == Worth.SAVED.of(1, 1000, 160) == 1000
    assert Worth.COUNT.of(8, 1000, 10) == 8
    assert Worth.CAPACITY.of(8, 0, 0) == 8
