"""Two cuts, one after the other, are one cut: numbers of a slim model stand for the original's."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sosp_core.config import COUNTED, Metric
from sosp_core.cost.model import CostModel, measure
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import serialize
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import gate_model
from sosp_core.structures.restrict import compose, restrict
from sosp_core.structures.structures import Alive, Structures
from sosp_core.surgery.apply import slim
from sosp_core.surgery.verify import outputs_of
from tests.core.surgery.test_law import few
from tests.zoo.built import Built, masks, prepare, random_mask
from tests.zoo.everything import Case, build, each_case
from tests.zoo.random_graphs import random_models


def require_one_cut(built: Built, first: Alive, second: Alive) -> None:
    """What two cuts leave is what one leaves, byte for byte, and it costs the same."""
    rest = restrict(built.structures, first)
    middle = slim(built.model, built.structures, first)
    twice = slim(middle, rest, second)
    both = compose(first, second)
    assert sorted_file(twice) == sorted_file(slim(built.model, built.structures, both))
    assert measure(rest, second) == measure(built.structures, both)


def sorted_file(model: ir.Model) -> bytes:
    """The file, its weights in order of their names: a copied integer may stand elsewhere among them."""
    proto = onnx.load_from_string(serialize(model))
    for entries in (proto.graph.initializer, proto.graph.value_info):
        entries.sort(key=lambda entry: entry.name)
    return proto.SerializeToString(deterministic=True)


@each_case
@few
@given(data=st.data())
def test_two_cuts_are_one(case: Case, data: st.DataObject) -> None:
    built = build(case)
    first = data.draw(masks(built.structures), label="first")
    second = data.draw(masks(restrict(built.structures, first)), label="second")
    require_one_cut(built, first, second)


@settings(few, max_examples=25)
@given(content=random_models(), data=st.data())
def test_two_cuts_of_any_graph_are_one(content: bytes, data: st.DataObject) -> None:
    built = prepare(content)
    first = data.draw(masks(built.structures), label="first")
    second = data.draw(masks(restrict(built.structures, first)), label="second")
    require_one_cut(built, first, second)


@each_case
def test_silencing_what_is_left_equals_silencing_the_original(case: Case) -> None:
    built = build(case)
    first = random_mask(built.structures, 0, share=0.7)
    rest = restrict(built.structures, first)
    second = random_mask(rest, 1, share=0.7)
    middle = slim(built.model, built.structures, first)
    masked = gate_model(middle, rest, observe_shapes(middle, built.feeds)).mask(second)
    original = gate_model(built.model, built.structures, built.shapes).mask(compose(first, second))
    expected = outputs_of(original, built.feeds)
    for name, y in outputs_of(masked, built.feeds).items():  # the same sums in another order, as in the law
        np.testing.assert_allclose(y, expected[name], rtol=1e-3, atol=1e-4 * (1 + np.abs(y).max()))


@each_case
def test_looking_again_finds_the_same(case: Case) -> None:
    """Where two or more are left of every group: a width of one looks like a broadcast."""
    built = build(case)
    alive = random_mask(built.structures, 2)
    for group in built.structures.groups:
        alive[group.members[:2]] = True
    model = slim(built.model, built.structures, alive)
    again = discover(model, observe_shapes(model, built.feeds))
    rest = restrict(built.structures, alive)
    assert again.count == rest.count == int(alive.sum())
    assert told(again) == told(rest)


def told(structures: Structures) -> dict[str, object]:
    """What must not depend on how it was found; bytes do where a cut had to copy a shared integer."""
    costs = measure(structures, structures.all_alive())
    return {
        "groups": sorted(group.members.tolist() for group in structures.groups),
        "slices": {
            (name, axis): members.tolist()
            for name, axes in structures.slices.items()
            for axis, members in axes.items()
        },
        "layers": [(layer.node, layer.members.tolist()) for layer in structures.layers],
        "gates": [(gate.value, gate.axis, gate.members.tolist()) for gate in structures.gates],
        "costs": {metric: costs[metric] for metric in (Metric.MACS, Metric.PARAMS)},
    }


@each_case
def test_what_a_removal_saves_is_the_same_in_the_slim_model(case: Case) -> None:
    built = build(case)
    alive = random_mask(built.structures, 4)
    rest = restrict(built.structures, alive)
    for metric in COUNTED:
        whole, left = CostModel(built.structures, metric), CostModel(rest, metric)
        kept = whole.kept(alive)
        np.testing.assert_array_equal(kept, left.kept(rest.all_alive()))
        for number in range(len(built.structures.groups)):
            assert left.gain(kept, number, 1) == pytest.approx(whole.gain(kept, number, 1), abs=1e-6)
