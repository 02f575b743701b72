from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import combinations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from sosp_core.config import Method
from sosp_core.data.task import Kind, Task
from sosp_core.saliency.criterion import criteria
from sosp_core.saliency.rows import PROBES
from sosp_core.saliency.signed import sosp_signed
from sosp_core.structures.prices import Scores
from tests.core.saliency.scenes import (
    CLASSES,
    DISTILL,
    DISTILL_CLASSES,
    TARGETS,
    mask_space,
    samples,
    scene,
    without,
)
from tests.core.saliency.test_sosp_h import supervised
from tests.oracles.dense import (
    MANY_OUTPUTS,
    MLP,
    NETS,
    Dense,
    Net,
    signed_rise,
    softmax_curvature,
    square_curvature,
)

# Rows of the square root are kept in float32: 6e-8 each, with some tens of terms in a sum.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}

each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
each_task = pytest.mark.parametrize(
    ("task", "curvature"),
    [(CLASSES, softmax_curvature), (TARGETS, square_curvature)],
    ids=["cross_entropy", "mse"],
)


@each_net
@each_task
@pytest.mark.parametrize("removed", [(), (1, 4)], ids=["whole", "pruned"])
def test_prices_are_minus_gradient_plus_half_the_gauss_newton_diagonal(
    net: Net, task: Task, curvature: Callable[[Tensor], Tensor], removed: tuple[int, ...]
) -> None:
    built = net.build()
    data, alive = samples(built, task), without(net, *removed)
    prices = sosp_signed(scene(built, mask_space(built, data, task)), alive)
    dense = Dense(net, built, data)
    expected = -dense.gradient(supervised(task, data), alive) + 0.5 * torch.diag(
        dense.gauss_newton(curvature, alive)
    )
    np.testing.assert_allclose(prices.scores[alive], expected[torch.as_tensor(alive)].numpy(), **SINGLE)


@each_net
@each_task
def test_prices_after_removals_are_increments_of_the_signed_quadratic(
    net: Net, task: Task, curvature: Callable[[Tensor], Tensor]
) -> None:
    """Every set of two or three structures, and what each further one would add."""
    built = net.build()
    data, whole = samples(built, task), without(net)
    dense = Dense(net, built, data)
    gradient = dense.gradient(supervised(task, data), whole)
    matrix = dense.gauss_newton(curvature, whole)
    fresh = sosp_signed(scene(built, mask_space(built, data, task)), whole)
    for size in (2, 3):
        for removed in combinations(range(net.structures), size):
            prices = deepcopy(fresh)
            prices.remove(np.array(removed[:1]))  # a chunk, and one more on its own
            prices.remove(np.array(removed[1:]))
            before = signed_rise(gradient, matrix, removed)
            for s in set(range(net.structures)) - set(removed):
                rise = signed_rise(gradient, matrix, [*removed, s]) - before
                assert prices.scores[s] == pytest.approx(rise, rel=1e-4, abs=1e-5)


def test_how_sure_a_network_is_does_not_matter() -> None:
    """By labels a sure network has next to no curvature; by its answers it has as much as any other."""
    by_answers, by_labels = (
        [_prices(task, scores_times) for scores_times in (1.0, 100.0)]
        for task in (criteria[Method.SOSP_SIGNED].task(CLASSES), CLASSES)
    )
    np.testing.assert_allclose(by_answers[1], by_answers[0], rtol=1e-4, atol=1e-6)
    assert not np.array_equal(np.argsort(by_labels[1]), np.argsort(by_labels[0]))


def _prices(task: Task, scores_times: float) -> Scores:
    """Of a network whose scores of classes are multiplied, one structure gone."""
    built = MLP.build()
    for name in ("w3", "b3"):
        value = built.model.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.float32(scores_times) * value.const_value.numpy())
    space = mask_space(built, samples(built, CLASSES), task)
    return sosp_signed(scene(built, space), without(MLP, 1)).scores


@each_net
@pytest.mark.parametrize(
    "task",
    [CLASSES, TARGETS, DISTILL, DISTILL_CLASSES],
    ids=["classes", "values", "distill", "distill_classes"],
)
def test_one_sample_at_a_time_gives_the_same_prices(net: Net, task: Task) -> None:
    """The way for graphs in which samples cannot have gates of their own."""
    built = net.build()
    data, alive = samples(built, task), without(net)
    together, apart = mask_space(built, data, task, batch_size=7), mask_space(built, data, task, batch_size=7)
    assert together.per_sample
    apart.per_sample = False
    one, other = (sosp_signed(scene(built, space), alive).scores for space in (together, apart))
    np.testing.assert_allclose(other, one, **SINGLE)


@pytest.mark.parametrize("task", [CLASSES, TARGETS, DISTILL], ids=["classes", "values", "distill"])
def test_the_split_into_batches_does_not_matter(task: Task) -> None:
    built = MLP.build()
    data, alive = samples(built, task), without(MLP)
    one, other = (
        sosp_signed(scene(built, mask_space(built, data, task, batch_size=b)), alive).scores for b in (7, 2)
    )
    np.testing.assert_allclose(other, one, **SINGLE)


@pytest.mark.parametrize("kind", [Kind.LOGITS, Kind.VALUES])
def test_with_more_outputs_than_probes_prices_tend_to_the_truth(kind: Kind) -> None:
    """Random probes are right in expectation."""
    built, alive = MANY_OUTPUTS.build(), without(MANY_OUTPUTS)
    task = Task(kinds=(kind,), labelled=True)
    data = samples(built, task, n=5, outputs=40)
    dense = Dense(MANY_OUTPUTS, built, data)
    loss = supervised(CLASSES if kind is Kind.LOGITS else TARGETS, data)
    curvature = softmax_curvature if kind is Kind.LOGITS else square_curvature
    diagonal = 0.5 * torch.diag(dense.gauss_newton(curvature, alive)).numpy()
    gradient = dense.gradient(loss, alive).numpy()
    assert PROBES < 40
    space = mask_space(built, data, task)
    draws = np.stack([sosp_signed(scene(built, space, seed), alive).scores + gradient for seed in range(64)])
    spread = draws.std(axis=0)
    # The mean of 64 draws lies within four of its standard errors of the truth, for each structure.
    assert np.all(np.abs(draws.mean(axis=0) - diagonal) < 4 * spread / 8)
    assert np.all(spread < diagonal)
    assert spread.max() > 0.02 * diagonal.max(), "more outputs than probes, and yet no chance in it"


def test_prices_are_reproducible_and_depend_on_the_seed_only_through_probes() -> None:
    exact, sampled = MLP.build(), MANY_OUTPUTS.build()
    for built, outputs, varies in ((exact, 3, False), (sampled, 40, True)):
        data = samples(built, CLASSES, outputs=outputs)
        space = mask_space(built, data, CLASSES)
        alive = built.structures.all_alive()
        first, again, other = (sosp_signed(scene(built, space, seed), alive).scores for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (not np.array_equal(first, other)) == varies


def test_removed_structures_carry_no_weight() -> None:
    built = MLP.build()
    alive = without(MLP, 2, 7)
    prices = sosp_signed(scene(built, mask_space(built, samples(built, CLASSES), CLASSES)), alive)
    before = prices.scores.copy()
    assert before[[2, 7]].tolist() == [0.0, 0.0]
    prices.remove(np.array([2, 7]))
    np.testing.assert_array_equal(prices.scores, before)
