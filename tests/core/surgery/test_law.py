"""The law of pruning: the slim model computes what the masked original computes.

Whatever lies between a producer and its readers (bias, sigmoid, padding of a shifted value,
pooling, a shuffle), cutting a structure out must equal silencing it where it is read.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sosp_core.config import Metric
from sosp_core.cost.model import measure
from sosp_core.errors import SurgeryDiverged
from sosp_core.ir.interface import interface
from sosp_core.runtime.session import serialize
from sosp_core.structures.gating import gate_model
from sosp_core.structures.structures import Alive
from sosp_core.surgery.apply import slim
from sosp_core.surgery.branches import find_branches
from sosp_core.surgery.verify import outputs_of, require_close, require_loadable
from tests.oracles import counting
from tests.zoo.built import Built, masks, prepare, random_feeds, random_mask
from tests.zoo.everything import Case, build, each_case
from tests.zoo.exact import outputs_in_double
from tests.zoo.networks import EXPORTS, Export, build_export
from tests.zoo.random_graphs import random_models

# The same float32 sums in another order. Seen 1e-6; a channel cut wrongly gives errors near 1.
TOLERANCE = 1e-4

# In float64 only the order of sums is left. Seen 4e-15; float32 anywhere on the way gives 1e-7.
EXACT = 1e-10

few = settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def require_law(built: Built, alive: Alive) -> None:
    cut = slim(built.model, built.structures, alive)
    masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
    expected = outputs_of(masked, built.feeds)
    require_close(outputs_of(cut, built.feeds), expected, TOLERANCE, SurgeryDiverged)
    assert all(np.isfinite(y).all() for y in expected.values())


def require_exact_law(built: Built, alive: Alive) -> None:
    """Unlike ``require_law``, which runs both in the referee, this runs both in the torch twin."""
    cut = slim(built.model, built.structures, alive)
    masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
    expected = outputs_in_double(masked, built.feeds)
    require_close(outputs_in_double(cut, built.feeds), expected, EXACT, SurgeryDiverged)


@each_case
@few
@given(data=st.data())
def test_cutting_equals_silencing(case: Case, data: st.DataObject) -> None:
    built = build(case)
    require_law(built, data.draw(masks(built.structures), label="alive"))


@each_case
def test_cutting_equals_silencing_in_float64(case: Case) -> None:
    built = build(case)
    require_exact_law(built, random_mask(built.structures, 3))


@settings(few, max_examples=25)
@given(content=random_models(), data=st.data())
def test_the_law_holds_of_any_graph(content: bytes, data: st.DataObject) -> None:
    built = prepare(content)
    alive = data.draw(masks(built.structures), label="alive")
    require_law(built, alive)
    require_exact_law(built, alive)


@each_case
def test_cutting_all_that_may_go_equals_silencing_it(case: Case) -> None:
    built = build(case)
    alive = ~built.structures.all_alive()
    for group in built.structures.groups:
        alive[group.members[-1]] = True
    require_law(built, alive)


@each_case
def test_cutting_whole_branches_equals_silencing_them(case: Case) -> None:
    """Attention and gates, too, wherever they join what goes past them."""
    built = build(case)
    may_go = find_branches(built.model, built.structures, built.shapes)
    alive = random_mask(built.structures, 5)
    for number in may_go:
        alive[built.structures.groups[number].members] = False
    require_law(built, alive)
    cut = slim(built.model, built.structures, alive)
    require_loadable(cut, built.model)
    assert (len(cut.graph) < len(built.model.graph)) == bool(may_go)


@pytest.mark.parametrize("which", EXPORTS, ids=lambda which: which.name)
def test_the_law_holds_at_another_batch_size(which: Export) -> None:
    """Shapes were observed at one size: no number in the slim file may stand for it."""
    built = build_export(which)
    other = random_feeds(interface(built.model).inputs, 5, seed=1)
    alive = random_mask(built.structures, 2)
    require_law(replace(built, feeds=other), alive)


@each_case
def test_open_gates_change_nothing(case: Case) -> None:
    built = build(case)
    gated = gate_model(built.model, built.structures, built.shapes).model
    expected = outputs_of(built.model, built.feeds)
    require_close(outputs_of(gated, built.feeds), expected, 1e-6, SurgeryDiverged)


@each_case
def test_cutting_nothing_changes_nothing(case: Case) -> None:
    built = build(case)
    same = slim(built.model, built.structures, built.structures.all_alive())
    expected = outputs_of(built.model, built.feeds)
    for name, y in outputs_of(same, built.feeds).items():
        np.testing.assert_array_equal(y, expected[name])


@each_case
def test_silencing_does_something(case: Case) -> None:
    """Otherwise the law would hold of gates that nobody reads."""
    built = build(case)
    if built.structures.count == 0:
        return
    alive = np.zeros(built.structures.count, dtype=np.bool_)
    masked = outputs_of(gate_model(built.model, built.structures, built.shapes).mask(alive), built.feeds)
    before = outputs_of(built.model, built.feeds)
    assert any(not np.allclose(masked[name], before[name]) for name in before)


@each_case
def test_the_slim_file_is_valid_and_costs_what_was_promised(case: Case) -> None:
    built = build(case)
    for seed in range(2):
        alive = random_mask(built.structures, seed)
        proto = onnx.load_from_string(
            require_loadable(slim(built.model, built.structures, alive), built.model)
        )
        promised = measure(built.structures, alive)
        assert counting.weights(proto) == promised[Metric.PARAMS]
        known = set(built.model.graph.initializers)  # a shared integer may have been copied
        assert counting.stored_bytes(proto, known) == promised[Metric.SIZE]
        assert counting.multiply_accumulates(proto, built.feeds) == promised[Metric.MACS]


@each_case
def test_what_users_see_survives(case: Case) -> None:
    built = build(case)
    original = built.model.clone()
    original.metadata_props["author"] = "someone"
    next(iter(original.graph)).metadata_props["scope"] = "stem"
    cut = slim(original, built.structures, random_mask(built.structures, 0))
    assert interface(cut) == interface(original)
    proto = onnx.load_from_string(serialize(cut))
    assert [n.name for n in proto.graph.node] == [n.name for n in original.graph]
    assert [n.op_type for n in proto.graph.node] == [n.op_type for n in original.graph]
    assert {p.key: p.value for p in proto.metadata_props}["author"] == "someone"
    assert {p.key: p.value for p in proto.graph.node[0].metadata_props}["scope"] == "stem"
    assert {o.domain: o.version for o in proto.opset_import} == dict(original.graph.opset_imports)
    dtypes = {t.name: t.data_type for t in proto.graph.initializer}
    assert all(dtypes[name] == v.dtype for name, v in original.graph.initializers.items() if v.dtype)


@each_case
def test_the_original_is_left_alone(case: Case) -> None:
    built = build(case)
    before = serialize(built.model)
    alive = random_mask(built.structures, 1)
    slim(built.model, built.structures, alive)
    gate_model(built.model, built.structures, built.shapes).mask(alive)
    assert serialize(built.model) == before
