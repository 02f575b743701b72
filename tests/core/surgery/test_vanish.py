"""Whole branches go: what is left is the masked original, whatever the batch and the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sosp_core.convert.network import Network
from sosp_core.errors import SurgeryDiverged
from sosp_core.ir.interface import interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import Array, serialize
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import gate_model
from sosp_core.structures.structures import Alive
from sosp_core.surgery.apply import slim
from sosp_core.surgery.branches import Branch, find_branches
from sosp_core.surgery.stand_in import put_means
from sosp_core.surgery.vanish import Unsettled
from sosp_core.surgery.verify import outputs_of, require_close, require_loadable
from tests.core.surgery.test_law import EXACT, TOLERANCE, few
from tests.zoo.branches import BRANCHING, Branching, residual_models
from tests.zoo.built import Built, masks, prepare
from tests.zoo.everything import ALL
from tests.zoo.everything import build as build_case
from tests.zoo.exact import doubled, outputs_in_double
from tests.zoo.graphs import content_of

each_branching = pytest.mark.parametrize("graph", BRANCHING, ids=lambda graph: graph.name)
CASES = {graph.name: graph for graph in BRANCHING}
#: Where sizes are free: for observing, and to compare at.
OBSERVED, OTHERS = (
    {"N": 2, "H": 6, "W": 5, "T": 3},
    ({"N": 1, "H": 7, "W": 4, "T": 5}, {"N": 5, "H": 9, "W": 9, "T": 2}),
)


def feeds_at(model: ir.Model, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = {
        p.name: [sizes[d] if isinstance(d, str) else d for d in p.shape] for p in interface(model).inputs
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def build(graph: Branching) -> Built:
    model = normalize(load_model(content_of(graph)))
    feeds = feeds_at(model, OBSERVED)
    shapes = observe_shapes(model, feeds)
    return Built(model=model, feeds=feeds, shapes=shapes, structures=discover(model, shapes))


def branches_of(built: Built, stay: tuple[str, ...] = ()) -> dict[int, Branch]:
    return find_branches(built.model, built.structures, built.shapes, stay)


def without(built: Built, numbers: Iterable[int], alive: Alive | None = None) -> Alive:
    """Those groups gone, and all else whole, or under a mask."""
    mask = built.structures.all_alive() if alive is None else alive.copy()
    for number in numbers:
        mask[built.structures.groups[number].members] = False
    return mask


def require_law(built: Built, alive: Alive) -> ir.Model:
    """Masked equals slimmed, in ONNX Runtime and in float64; nothing dead is left in the file."""
    cut = slim(built.model, built.structures, alive)
    masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
    expected = outputs_of(masked, built.feeds)
    require_close(outputs_of(cut, built.feeds), expected, TOLERANCE, SurgeryDiverged)
    require_loadable(cut, built.model)
    require_tidy(cut)
    wide = replace(built, model=doubled(built.model))
    exact = outputs_in_double(gate_model(wide.model, built.structures, built.shapes).mask(alive), built.feeds)
    slimmed = outputs_in_double(slim(wide.model, built.structures, alive), built.feeds)
    require_close(slimmed, exact, EXACT, SurgeryDiverged)
    return cut


def require_tidy(cut: ir.Model) -> None:
    proto = onnx.load_from_string(serialize(cut))
    read = {name for node in proto.graph.node for name in node.input} | {o.name for o in proto.graph.output}
    assert {t.name for t in proto.graph.initializer} <= read
    assert all(read.intersection(node.output) for node in proto.graph.node)


@each_branching
def test_what_may_go_is_found(graph: Branching) -> None:
    built = build(graph)
    assert tuple(len(g.members) for g in built.structures.groups) == graph.groups
    names = [g.name for g in built.structures.groups]
    found = {names[n]: tuple(names[f] for f in b.falls) for n, b in branches_of(built).items()}
    assert found == dict(graph.vanish)


@each_branching
def test_without_all_that_may_go_this_is_left(graph: Branching) -> None:
    built = build(graph)
    cut = require_law(built, without(built, branches_of(built)))
    assert tuple(node.op_type for node in cut.graph) == graph.left
    made = [name for name in cut.graph.initializers if name.endswith("/constant")]
    assert len(made) == graph.constants
    assert interface(cut) == interface(built.model)


@each_branching
@few
@given(data=st.data())
def test_some_branches_gone_and_others_narrow(graph: Branching, data: st.DataObject) -> None:
    built = build(graph)
    alive = data.draw(masks(built.structures), label="alive")
    may_go = branches_of(built)
    gone = data.draw(st.sets(st.sampled_from(sorted(may_go)))) if may_go else set()
    for sizes in OTHERS:
        feeds = feeds_at(built.model, sizes)
        require_law(replace(built, feeds=feeds), without(built, gone, alive))


@each_branching
def test_what_falls_may_go_with_it_or_stay(graph: Branching) -> None:
    built = build(graph)
    for number, branch in branches_of(built).items():
        one = require_law(built, without(built, [number]))
        both = require_law(built, without(built, [number, *branch.falls]))
        assert [n.name for n in one.graph] == [n.name for n in both.graph]
        assert branch.nodes.isdisjoint(n.name for n in one.graph)


@settings(few, max_examples=40)
@given(content=residual_models(), data=st.data())
def test_any_branches_of_any_residual_network(content: bytes, data: st.DataObject) -> None:
    built = prepare(content)
    may_go = branches_of(built)
    gone = data.draw(st.sets(st.sampled_from(sorted(may_go))), label="gone") if may_go else set()
    alive = data.draw(masks(built.structures), label="alive")
    require_law(built, without(built, gone, alive))


@pytest.mark.parametrize("name", ["vit-classic", "llama-classic"])
def test_attention_and_feed_forward_may_go_both(name: str) -> None:
    built = build_case(next(case for case in ALL if case.name == name))
    assert len(branches_of(built)) == 2


def test_queries_and_keys_alone_stay() -> None:
    """Without them all scores are equal: then every token hears the mean of all, which is no constant."""
    built = build(CASES["attention_of_one_head"])
    with pytest.raises(Unsettled, match="Softmax"):
        slim(built.model, built.structures, without(built, [1]))


def test_a_protected_layer_holds_its_branch() -> None:
    built = build(CASES["bottleneck_block"])
    assert branches_of(built, ("Conv_5",)) == {}
    assert set(branches_of(built, ("Conv_0",))) == set(branches_of(built))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("chain", "not depend on any input"), ("joined_by_concatenation", "Concat takes no constant")],
)
def test_a_layer_that_something_needs_is_not_emptied(name: str, reason: str) -> None:
    built = build(CASES[name])
    with pytest.raises(Unsettled, match=reason):
        slim(built.model, built.structures, without(built, [1]))


def test_a_constant_can_be_trained() -> None:
    built = build(CASES["basic_block_normalised"])
    network = Network(slim(built.model, built.structures, without(built, branches_of(built))))
    (name,) = (name for name in network.attribute_of if name.endswith("/constant"))
    assert network.attribute_of[name] in dict(network.named_parameters())


def test_the_mean_of_what_a_branch_gave_stands_in_for_it() -> None:
    """It is the best constant: no other is nearer to the original's sum, in the mean square."""
    built = build(CASES["basic_block_normalised"])
    alive = without(built, branches_of(built))
    cut = slim(built.model, built.structures, alive)
    x = torch.as_tensor(feeds_at(built.model, {"N": 40, "H": 6, "W": 6})["x"])
    network = Network(built.model)
    put_means(cut, built.structures, alive, network, ([part] for part in x.split(16)))
    (made,) = (v for name, v in cut.graph.initializers.items() if name.endswith("/constant"))
    join = next(node for node in built.model.graph if node.op_type == "Add")
    (given,) = network.tensors([x], [join.inputs[1].name])
    np.testing.assert_allclose(
        made.const_value.numpy(), given.detach().mean((0, 2, 3), keepdim=True), atol=1e-5
    )
