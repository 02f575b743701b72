"""How much wider: by a factor, or alike for all up to a number of parameters."""

from __future__ import annotations

import numpy as np
import pytest

from sosp_core.bottleneck.expand import alike, by_factor
from sosp_core.config import Metric
from sosp_core.cost.model import CostModel
from sosp_core.structures.structures import Structures
from tests.zoo.networks import FAMILIES, Export, build_export


@pytest.fixture(scope="module")
def resnet() -> Structures:
    family = next(f for f in FAMILIES if f.name == "resnet_a")
    return build_export(Export(family, dynamo=False)).structures


def test_a_factor_multiplies_the_chosen_widths_alone(resnet: Structures) -> None:
    sizes = [len(g.members) for g in resnet.groups]
    assert by_factor(resnet.groups, {1}, 2.5).tolist() == [
        round(1.5 * n) if i == 1 else 0 for i, n in enumerate(sizes)
    ]
    assert by_factor(resnet.groups, {0}, 1.01)[0] == 1, "too little to round up is one structure"


@pytest.mark.parametrize("more", [1.1, 1.5, 2.0, 3.7])
def test_widening_alike_spends_all_it_may(resnet: Structures, more: float) -> None:
    cost = CostModel(resnet, Metric.PARAMS)
    sizes = np.array([len(g.members) for g in resnet.groups])
    target = round(more * cost.total(sizes))
    everyone = range(len(sizes))
    extra = alike(resnet.groups, everyone, cost, target)
    assert cost.total(sizes + extra) <= target
    factors = (sizes + extra) / sizes
    # Alike but for whole structures: rounding down and at most one more.
    assert np.all(np.abs(factors - factors.mean()) <= 1 / sizes + 1e-9)
    unspent = target - cost.total(sizes + extra)
    dearest = max(cost.total(sizes + extra + np.eye(len(sizes), dtype=int)[g]) for g in everyone)
    assert unspent < dearest - cost.total(sizes + extra)


def test_what_may_not_grow_does_not(resnet: Structures) -> None:
    cost = CostModel(resnet, Metric.PARAMS)
    sizes = np.array([len(g.members) for g in resnet.groups])
    extra = alike(resnet.groups, [2], cost, 2 * cost.total(sizes))
    assert np.flatnonzero(extra).tolist() == [2]
    assert not alike(resnet.groups, [], cost, 10**6).any()
