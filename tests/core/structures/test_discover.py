from __future__ import annotations

import numpy as np
import onnx
import pytest

from sosp_core.config import Metric
from sosp_core.cost.model import measure
from sosp_core.structures.structures import STAYS, Structures
from tests.oracles import counting
from tests.zoo.built import prepare
from tests.zoo.everything import Case, build, each_case
from tests.zoo.graphs import CASES, GRAPHS, Graph, content_of
from tests.zoo.graphs import build as build_graph
from tests.zoo.networks import EXPORTS, FAMILIES, Export, Family, build_export


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_a_graph_has_the_structures_counted_by_hand(graph: Graph) -> None:
    found = build_graph(graph).structures
    assert tuple(len(group.members) for group in found.groups) == graph.groups
    assert found.count == graph.structures


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_what_stays_is_named_with_its_reason(graph: Graph) -> None:
    refusals = [str(refusal) for refusal in build_graph(graph).structures.refusals]
    assert len(refusals) == len(graph.refusals)
    for refusal, part in zip(refusals, graph.refusals, strict=True):
        assert part in refusal


@pytest.mark.parametrize("which", EXPORTS, ids=lambda which: which.name)
def test_an_export_has_the_structures_of_its_family(which: Export) -> None:
    found = build_export(which).structures
    assert tuple(sorted(len(group.members) for group in found.groups)) == which.groups


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_stays_in_a_family_is_what_has_to(family: Family) -> None:
    exports = [build_export(Export(family, dynamo)).structures for dynamo in (False, True)]
    refusals = [str(refusal) for found in exports for refusal in found.refusals]
    assert [r for r in refusals if not any(part in r for part in family.stays)] == []
    assert [part for part in family.stays if not any(part in r for r in refusals)] == []


@pytest.mark.parametrize("which", EXPORTS, ids=lambda which: which.name)
def test_much_of_a_family_can_go(which: Export) -> None:
    found = build_export(which).structures
    alive = ~found.all_alive()
    for group in found.groups:
        alive[group.members[-1]] = True
    full, least = (measure(found, mask)[Metric.MACS] for mask in (found.all_alive(), alive))
    # Under a third only for the layer that the current exporter unrolls and cannot shrink.
    assert least <= 0.55 * full or which.groups == ()


@each_case
def test_groups_partition_the_structures(case: Case) -> None:
    found = build(case).structures
    members = [int(s) for group in found.groups for s in group.members]
    assert sorted(members) == list(range(found.count))


@each_case
def test_every_group_is_named_after_a_node_and_names_differ_by_node(case: Case) -> None:
    built = build(case)
    known = {node.name for node in built.model.graph} | set(built.model.graph.initializers)
    assert {group.name for group in built.structures.groups} <= known


@each_case
def test_slices_and_gates_fit_the_tensors_they_cut(case: Case) -> None:
    built = build(case)
    for name, axes in built.structures.slices.items():
        shape = built.shapes.shape[name]
        assert {axis: len(members) for axis, members in axes.items()} == {a: shape[a] for a in axes}
    for gate in built.structures.gates:
        assert len(gate.members) == built.shapes.shape[gate.value][gate.axis]


@each_case
def test_every_structure_can_be_silenced(case: Case) -> None:
    """A structure that no reader sees would be priced at nothing and cut unseen."""
    found = build(case).structures
    gated = {int(s) for gate in found.gates for s in gate.members if s != STAYS}
    read = {int(s) for axes in found.slices.values() for m in axes.values() for s in m if s != STAYS}
    assert read <= gated


@each_case
def test_the_whole_model_costs_what_is_in_the_file(case: Case) -> None:
    built = build(case)
    proto = onnx.load_from_string(serialized(case))
    costs = measure(built.structures, built.structures.all_alive())
    assert costs[Metric.PARAMS] == counting.weights(proto)
    assert costs[Metric.SIZE] == counting.stored_bytes(proto, set(built.model.graph.initializers))
    assert costs[Metric.MACS] == counting.multiply_accumulates(proto, built.feeds)
    assert costs[Metric.STRUCTURES] == built.structures.count


def serialized(case: Case) -> bytes:
    from sosp_core.runtime.session import serialize

    return serialize(build(case).model)


@pytest.mark.parametrize("graph", [g for g in GRAPHS if g.params], ids=lambda graph: graph.name)
def test_parameters_are_those_counted_by_hand(graph: Graph) -> None:
    found = build_graph(graph).structures
    assert measure(found, found.all_alive())[Metric.PARAMS] == graph.params


def protected(name: str, *patterns: str) -> Structures:
    return prepare(content_of(CASES[name]), patterns).structures


def test_a_protected_node_keeps_its_width() -> None:
    found = protected("conv_chain", "Conv_0")
    assert [len(g.members) for g in found.groups] == [5]
    assert [str(r) for r in found.refusals] == ["Conv_0 (Conv): protected by the recipe"]


def test_protection_reaches_everything_that_falls_together() -> None:
    found = protected("residual_add_couples_two_convs", "Conv_4")
    assert [len(g.members) for g in found.groups] == [3]


@pytest.mark.parametrize(("patterns", "left"), [(("Conv_*",), 0), (("*",), 0), (("conv_0",), 2), ((), 2)])
def test_protection_takes_shell_patterns_and_minds_the_case(patterns: tuple[str, ...], left: int) -> None:
    assert len(protected("conv_chain", *patterns).groups) == left


def test_a_protected_pass_through_node_protects_what_it_carries() -> None:
    assert [len(g.members) for g in protected("conv_chain", "Relu_2").groups] == [5]


def test_structures_are_numbered_in_graph_order() -> None:
    found = build_graph(CASES["conv_chain"]).structures
    assert [g.name for g in found.groups] == ["Conv_0", "Conv_3"]
    assert np.array_equal(found.groups[0].members, np.arange(6))


def test_the_same_file_gives_the_same_structures() -> None:
    one, two = (prepare(content_of(CASES["dense_concat"])).structures for _ in range(2))
    assert one.inventory() == two.inventory()
    assert one.sizes == two.sizes == ()
    for name, axes in one.slices.items():
        for axis, members in axes.items():
            assert np.array_equal(members, two.slices[name][axis])


def test_equal_batch_normalisations_merged_by_an_exporter_shrink_apart() -> None:
    shared = Graph(
        name="shared_scale",
        groups=(4, 4),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[4] g, float[4] b, float[4] m, float[4] var, float[4,4,1,1] w1,
         float[2,4,1,1] w2>
        { p = Conv(x, w0)  n = BatchNormalization(p, g, b, m, var)  r = Relu(n)  q = Conv(r, w1)
          o = BatchNormalization(q, g, b, m, var)  s = Relu(o)  y = Conv(s, w2) }""",
    )
    assert tuple(len(g.members) for g in build_graph(shared).structures.groups) == shared.groups
