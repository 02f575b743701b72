"""The root of the curvature, whole and folded, and what is added up without holding it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel
from sosp_core.data.axes import Axes
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.saliency.folded import Folded
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.saliency.rows import Expansion, diagonal, gradient, gradient_and_root
from sosp_core.select.greedy import shrink
from sosp_core.select.rules import Rules
from sosp_core.structures.prices import AbsolutePrices, QuadraticPrices
from sosp_core.structures.structures import Alive
from tests.core.digits import INPUT, digits, exported, trained
from tests.core.saliency.scenes import CLASSES, mask_space, samples, without
from tests.core.saliency.test_sosp_h import supervised
from tests.oracles.dense import MLP, NETS, Dense, Net, softmax_curvature
from tests.zoo.built import Built, prepare
from tests.zoo.graphs import Graph, content_of

# Rows are kept in float32.
SINGLE = {"rtol": 1e-5, "atol": 1e-7}
FLOAT = 4
DRAWS = 400
each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
each_mask = pytest.mark.parametrize("removed", [(), (1, 4)], ids=["whole", "pruned"])


def room_for(rows: int, structures: int) -> int:
    return rows * structures * FLOAT


def scored(net: Net, alive: Alive) -> tuple[MaskSpace, np.ndarray, np.ndarray]:
    """With the gradient and the matrix it has to have, 0 where not alive."""
    built = net.build()
    data = samples(built, CLASSES)
    dense = Dense(net, built, data)
    both = np.outer(alive, alive)
    slope = np.where(alive, dense.gradient(supervised(CLASSES, data), alive).numpy(), 0)
    matrix = np.where(both, dense.gauss_newton(softmax_curvature, alive).numpy(), 0)
    return mask_space(built, data, CLASSES), slope, matrix


@each_net
@each_mask
def test_a_root_with_room_is_one_of_the_dense_matrix(net: Net, removed: tuple[int, ...]) -> None:
    alive = without(net, *removed)
    space, slope, matrix = scored(net, alive)
    got = gradient_and_root(space, alive, 0)
    np.testing.assert_allclose(got.rows.T @ got.rows, matrix, **SINGLE)
    np.testing.assert_allclose(got.diagonal, np.diag(matrix), **SINGLE)
    np.testing.assert_allclose(got.gradient, slope, **SINGLE)


@each_net
@each_mask
@pytest.mark.parametrize("apart", [False, True], ids=["gates for each sample", "one sample at a time"])
def test_what_is_added_up_in_passing_is_what_the_whole_gives(
    net: Net, removed: tuple[int, ...], apart: bool
) -> None:
    alive = without(net, *removed)
    space, slope, matrix = scored(net, alive)
    space.per_sample = space.per_sample and not apart
    whole = gradient_and_root(space, alive, 0)
    np.testing.assert_array_equal(diagonal(space, alive, 0), whole.diagonal)
    np.testing.assert_allclose(whole.diagonal, np.square(whole.rows, dtype=float).sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(gradient(space, alive), whole.gradient)
    np.testing.assert_allclose(gradient(space, alive), slope, **SINGLE)
    np.testing.assert_allclose(diagonal(space, alive, 0), np.diag(matrix), **SINGLE)


@each_net
@each_mask
def test_the_diagonal_of_a_folded_root_is_exact(net: Net, removed: tuple[int, ...]) -> None:
    alive = without(net, *removed)
    space, slope, matrix = scored(net, alive)
    got = gradient_and_root(space, alive, 0, room_for(5, len(alive)))
    assert got.rows.shape == (5, len(alive))
    assert not got.rows[:, ~alive].any()
    np.testing.assert_allclose(got.diagonal, np.diag(matrix), **SINGLE)
    np.testing.assert_allclose(got.gradient, slope, **SINGLE)
    for prices in (QuadraticPrices(*got), AbsolutePrices(*got)):
        first = 0.5 * np.diag(matrix) + (-slope if isinstance(prices, QuadraticPrices) else np.abs(slope))
        np.testing.assert_allclose(prices.scores, first, **SINGLE)


@each_net
def test_off_its_diagonal_a_folded_root_tends_to_the_dense_matrix(net: Net) -> None:
    alive = without(net)
    space, _, matrix = scored(net, alive)
    k = 7  # a third of the 21 rows
    roots = [gradient_and_root(space, alive, seed, room_for(k, len(alive))).rows for seed in range(64)]
    grams = np.stack([rows.T.astype(float) @ rows for rows in roots])
    spread = grams.std(axis=0)
    # The mean of 64 draws lies within five of its standard errors of the truth, for each pair.
    assert np.all(np.abs(grams.mean(axis=0) - matrix) <= 5 * spread / 8 + 1e-7)
    lengths = np.sqrt(np.diag(matrix))
    relative = spread / np.outer(lengths, lengths)
    # The bound of the docstring, on average over pairs: a single one can have its rows in one place.
    assert np.sqrt(np.square(relative).mean()) < np.sqrt(2 / k)
    assert relative.max() > 0.02, "less room than rows, and yet no chance in it"


def test_the_chance_in_a_folded_root_does_not_touch_the_probes() -> None:
    alive = without(MLP)
    space, *_ = scored(MLP, alive)
    whole, folded = (gradient_and_root(space, alive, 3, room_for(k, len(alive))) for k in (99, 20))
    assert len(whole.rows) == 21
    np.testing.assert_array_equal(folded.rows[1:], whole.rows[1:20])
    assert (folded.rows[0] == whole.rows[0] + whole.rows[20]).all() or (
        folded.rows[0] == whole.rows[0] - whole.rows[20]
    ).all()


def folded(rows: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    root = Folded(len(rows), rows.shape[1], room_for(k, rows.shape[1]), seed)
    for part in np.array_split(rows, 3):
        root.add(part)
    return root.rows


def test_rows_that_have_room_are_kept_as_they_are() -> None:
    rows = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    for k in (8, 9):
        np.testing.assert_array_equal(folded(rows, k), rows)
    assert folded(rows, 0).shape == (1, 3)


def test_rows_that_are_fewer_than_announced_leave_no_trace() -> None:
    root = Folded(100, 2, room_for(50, 2), 0)
    root.add(np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(root.rows, np.ones((3, 2)))


def test_a_product_of_columns_varies_by_the_rows_that_share_a_place() -> None:
    rows, k = np.random.default_rng(1).integers(-4, 5, (12, 3)).astype(np.float32), 4
    draws = [folded(rows, k, seed) for seed in range(DRAWS)]
    products = np.array([float(b[:, 0] @ b[:, 1]) for b in draws])
    shared = [(i, j) for i, j in combinations(range(len(rows)), 2) if i % k == j % k]
    expected = float(sum((rows[i, 0] * rows[j, 1] + rows[j, 0] * rows[i, 1]) ** 2 for i, j in shared))
    assert products.mean() == pytest.approx(float(rows[:, 0] @ rows[:, 1]), abs=4 * np.sqrt(expected / DRAWS))
    # A variance of 400 draws is off by √(2/400) = 7 % or so.
    assert products.var() == pytest.approx(expected, rel=0.3)


@pytest.fixture(scope="module")
def competing() -> tuple[Built, Expansion, Expansion]:
    """A trained network, expanded with all of its rows, and with a quarter of them."""
    x, y = digits()
    built = prepare(exported(trained()))
    data = Dataset(inputs={INPUT: x[:200]}, labels=y[:200])
    space = mask_space(built, data, CLASSES, batch_size=32, dtype=torch.float32)
    alive = built.structures.all_alive()
    whole, part = (
        gradient_and_root(space, alive, 0, room_for(rows, len(alive))) for rows in (200 * 10, 50 * 10)
    )
    return built, whole, part


@pytest.mark.parametrize("kind", [QuadraticPrices, AbsolutePrices])
@pytest.mark.parametrize("share", [0.7, 0.5])
def test_what_a_folded_root_selects_is_nearly_what_the_whole_selects(
    competing: tuple[Built, Expansion, Expansion],
    kind: type[QuadraticPrices] | type[AbsolutePrices],
    share: float,
) -> None:
    built, whole, part = competing
    structures = built.structures
    cost = CostModel(structures, Metric.STRUCTURES)
    target = round(share * structures.count)
    kept = [
        shrink(kind(*expansion), structures.all_alive(), structures.groups, cost, target, Rules())
        for expansion in (whole, part)
    ]
    assert (kept[0] & kept[1]).sum() >= 0.85 * target
    prices = [price(kind, whole, alive) for alive in kept]
    assert prices[1] <= 1.1 * prices[0]


def price(kind: type[object], expansion: Expansion, alive: Alive) -> float:
    """Of everything that went, by all rows."""
    gone = expansion.rows[:, ~alive].astype(float)
    gram, slope = gone.T @ gone, expansion.gradient[~alive]
    if kind is QuadraticPrices:
        return float(-slope.sum() + 0.5 * gram.sum())
    return float(np.abs(slope).sum() + 0.5 * np.abs(gram).sum())


#: The same network twice, but for the order of its output's axes; no score may tell one from the other.
SEQUENCES = {
    Axes(samples=0, features=2): "(float[N,5,4] x) => (float[N,5,3] y) <float[4,6] w0, float[6,3] w1> "
    "{ h = MatMul(x, w0)  a = Relu(h)  y = MatMul(a, w1) }",
    Axes(samples=1, features=2): "(float[N,5,4] x) => (float[5,N,3] y) <float[4,6] w0, float[6,3] w1> "
    "{ h = MatMul(x, w0)  a = Relu(h)  z = MatMul(a, w1)  y = Transpose<perm=[1,0,2]>(z) }",
}


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("kind", [Kind.VALUES, Kind.LOGITS, Kind.SCORES])
def test_samples_need_not_be_on_the_first_axis(kind: Kind, per_sample: bool) -> None:
    found = []
    for axes, text in SEQUENCES.items():
        built = prepare(content_of(Graph(name="sequence", text=text, groups=(6,))))
        task = Task(kinds=(kind,), labelled=False, axes=(axes,))
        space = mask_space(built, samples(built, task), task)
        assert space.per_sample
        space.per_sample = per_sample
        alive = built.structures.all_alive()
        alive[1] = False
        found.append((gradient(space, alive), diagonal(space, alive, 0)))
    assert found[0][0].any()
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, **SINGLE)
