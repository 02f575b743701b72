"""SOSP-I against its objective, evaluated for every set of structures on dense matrices."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import combinations

import numpy as np
import pytest
from torch import Tensor

from sosp_core.data.task import Task
from sosp_core.saliency.sosp_i import sosp_i
from tests.core.saliency.scenes import CLASSES, TARGETS, mask_space, samples, scene, without
from tests.core.saliency.test_sosp_h import supervised
from tests.oracles.dense import NETS, Dense, Net, absolute_rise, softmax_curvature, square_curvature

each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
each_task = pytest.mark.parametrize(
    ("task", "curvature"),
    [(CLASSES, softmax_curvature), (TARGETS, square_curvature)],
    ids=["cross_entropy", "mse"],
)


def objective(net: Net, task: Task, curvature: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    built = net.build()
    data = samples(built, task)
    dense = Dense(net, built, data)
    whole = without(net)
    return dense.gradient(supervised(task, data), whole), dense.gauss_newton(curvature, whole)


@each_net
@each_task
def test_a_price_is_what_one_more_structure_adds_to_the_objective(
    net: Net, task: Task, curvature: Callable[[Tensor], Tensor]
) -> None:
    gradient, matrix = objective(net, task, curvature)
    built = net.build()
    fresh = sosp_i(scene(built, mask_space(built, samples(built, task), task)), without(net))
    for size in range(4):
        for removed in combinations(range(net.structures), size):
            prices = deepcopy(fresh)
            prices.remove(np.array(removed[:1], dtype=np.int64))
            prices.remove(np.array(removed[1:], dtype=np.int64))
            before = absolute_rise(gradient, matrix, removed)
            for s in set(range(net.structures)) - set(removed):
                rise = absolute_rise(gradient, matrix, [*removed, s]) - before
                assert prices.scores[s] == pytest.approx(rise, rel=1e-4, abs=1e-5)


@each_net
@each_task
def test_a_chunk_is_chosen_greedily_and_priced_exactly(
    net: Net, task: Task, curvature: Callable[[Tensor], Tensor]
) -> None:
    gradient, matrix = objective(net, task, curvature)
    built = net.build()
    prices = sosp_i(scene(built, mask_space(built, samples(built, task), task)), without(net))
    chosen, price = prices.cheapest(np.arange(net.structures), 3)
    expected: list[int] = []
    for _ in range(3):
        left = [s for s in range(net.structures) if s not in expected]
        expected.append(min(left, key=lambda s: absolute_rise(gradient, matrix, [*expected, s])))
    assert chosen.tolist() == expected
    assert price == pytest.approx(absolute_rise(gradient, matrix, expected), rel=1e-4)
