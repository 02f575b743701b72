"""The law of widening: a wider model computes what the original computes, and can be cut back to it.

Every graph and every family of the zoo, through both exporters, with every group half as wide again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch

from sosp_core.config import Metric
from sosp_core.convert.network import Network
from sosp_core.cost.model import CostModel, measure
from sosp_core.errors import ModelError
from sosp_core.ir.interface import interface
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.observe import observe_shapes
from sosp_core.structures.discover import discover
from sosp_core.structures.structures import Structures
from sosp_core.surgery.apply import slim
from sosp_core.surgery.verify import outputs_of, require_loadable
from sosp_core.surgery.widen import copies_of, widen
from tests.zoo.built import Built, random_feeds
from tests.zoo.everything import Case, build, each_case
from tests.zoo.graphs import CASES
from tests.zoo.graphs import build as build_graph
from tests.zoo.networks import EXPORTS, Export, build_export

# Zeros are added to the same float32 sums. Seen 2e-6; a structure that is heard gives errors above 1e-2.
EXACT = 1e-5
#: Groups with no weight that could silence them: the channels are added up as they are (after a
#: sigmoid, which answers zero with a half), or multiplied with themselves.
HEARD = {"sum_over_channels": {0}, "gram_matrix": {0, 1}}


def half_as_many_again(built: Built) -> np.ndarray:
    return np.array([(len(g.members) + 1) // 2 for g in built.structures.groups], dtype=np.int64)


def difference(model: ir.Model, built: Built) -> float:
    expected = outputs_of(built.model, built.feeds)
    try:
        got = outputs_of(model, built.feeds)
    except ModelError:
        return float("inf")
    return max(relative_error(got[name], y) for name, y in expected.items())


def widened(case: Case, seed: int = 0) -> tuple[Built, np.ndarray, ir.Model, Structures]:
    built = build(case)
    extra = half_as_many_again(built)
    extra[list(HEARD.get(case.name, ()))] = 0
    model = widen(built.model, built.structures, copies_of(built.structures, extra), seed)
    return built, extra, model, discover(model, observe_shapes(model, built.feeds))


@each_case
def test_a_wider_model_computes_the_same_and_can_be_cut_back(case: Case) -> None:
    built, extra, model, wide = widened(case)
    # Shapes were observed at one batch size: no number in the wide file may stand for it.
    ports = interface(built.model)
    feeds = random_feeds(ports.inputs, ports.batch or 5, seed=1)
    assert difference(model, replace(built, feeds=feeds)) <= EXACT
    require_loadable(model, built.model)
    assert interface(model) == interface(built.model)
    # Groups have grown by what was asked for, and cost what was promised.
    sizes = np.array([len(g.members) for g in built.structures.groups], dtype=np.int64)
    assert [len(g.members) for g in wide.groups] == (sizes + extra).tolist()
    cost = CostModel(built.structures, Metric.MACS)
    assert measure(wide, wide.all_alive())[Metric.MACS] == cost.total(sizes + extra)
    # Removing the new structures, each behind its template, gives back the original to the bit.
    alive = wide.all_alive()
    copies = copies_of(built.structures, extra)
    for group, grown in zip(built.structures.groups, wide.groups, strict=True):
        old = np.concatenate([[True, *[False] * int(copies[s])] for s in group.members])
        alive[grown.members[~old.astype(np.bool_)]] = False
    back = slim(model, wide, alive)
    untouched = slim(built.model, built.structures, built.structures.all_alive())
    for name, value in untouched.graph.initializers.items():
        restored = back.graph.initializers[name].const_value
        assert restored is not None
        assert value.const_value is not None
        np.testing.assert_array_equal(restored.numpy(), value.const_value.numpy(), err_msg=name)


@pytest.mark.parametrize(("name", "group"), [(n, g) for n, groups in HEARD.items() for g in sorted(groups)])
def test_what_cannot_be_silenced_is_noticed(name: str, group: int) -> None:
    built = build_graph(CASES[name])
    extra = np.zeros(len(built.structures.groups), dtype=np.int64)
    extra[group] = 2
    model = widen(built.model, built.structures, copies_of(built.structures, extra), 0)
    assert difference(model, built) > 100 * EXACT


LEARNERS = tuple(e for e in EXPORTS if not e.dynamo and e.family.name in {"resnet_a", "mobilenet_v3", "deit"})


@pytest.mark.parametrize("which", LEARNERS, ids=lambda which: which.name)
def test_what_is_new_can_learn(which: Export) -> None:
    """Silent, and yet not at a dead point: the first step already tells the new structures apart."""
    built, extra, model, wide = widened(which)
    before = Network(model)
    weights = {n: p for n, p in before.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(weights.values(), lr=0.05)
    inputs = [torch.as_tensor(built.feeds[n]) for n in before.input_names]
    for _ in range(2):  # zeros at the readers move first, what they read in the step after
        optimizer.zero_grad()
        sum(y.square().sum() for y in before(*inputs)).backward()
        optimizer.step()
    learned = {name: p.detach().numpy() for name, p in weights.items()}
    drawn = widen(built.model, built.structures, copies_of(built.structures, extra), 0)
    start = {n: v.const_value.numpy() for n, v in drawn.graph.initializers.items() if v.const_value}
    read = {w for gate in wide.gates for w in gate.weights if w is not None}
    said: list[bool] = []
    for name, axis in read:
        attribute = before.attribute_of[name]
        moved = np.abs(learned[attribute] - start[name])
        others = tuple(a for a in range(moved.ndim) if a != axis)
        said += (moved.max(axis=others) > 0).tolist()
    assert np.mean(said) > 0.8, "a rectifier may be shut on three samples; not most of them"


def test_seeds_draw_different_weights_and_one_seed_the_same() -> None:
    case = next(e for e in EXPORTS if e.name == "vgg-classic")
    built = build_export(case)
    copies = copies_of(built.structures, half_as_many_again(built))
    one, same, other = (widen(built.model, built.structures, copies, seed) for seed in (0, 0, 1))
    tensors = [
        {n: v.const_value.numpy() for n, v in m.graph.initializers.items() if v.const_value is not None}
        for m in (one, same, other)
    ]
    assert all(np.array_equal(tensors[0][n], tensors[1][n]) for n in tensors[0])
    assert any(not np.array_equal(tensors[0][n], tensors[2][n]) for n in tensors[0])


def test_structures_are_spread_over_their_templates() -> None:
    built = build_graph(CASES["conv_chain"])
    (first, *_) = built.structures.groups
    n = len(first.members)
    extra = np.zeros(len(built.structures.groups), dtype=np.int64)
    for more in (1, n - 1, n, 2 * n + 1):
        extra[0] = more
        copies = copies_of(built.structures, extra)
        assert copies.sum() == more
        assert np.ptp(copies[first.members]) <= 1, "one template serves more than another"
