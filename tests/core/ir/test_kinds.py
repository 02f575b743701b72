"""Kinds of models that people bring: each is accepted with proof, or refused with its reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sosp_core.errors import ModelError, ModelInvalid, ModelQuantized, ModelTooLarge, UnsupportedModel
from sosp_core.inspection import inspect
from sosp_core.ir.load import Limits, load_model
from tests.zoo.graphs import as_model

MLP = """({dtype}[N,8] x) => ({dtype}[N,4] y) <{dtype}[8,16] w, {dtype}[16] b, {dtype}[16,4] v>
{{ p = MatMul(x, w)  q = Add(p, b)  r = Relu(q)  y = MatMul(r, v) }}"""
CONV = """(float16[N,3,8,8] x) => (float16[N,2,8,8] y)
<float16[6,3,3,3] w, float16[6] s, float16[6] t, float16[6] m, float16[6] var, float16[2,6,1,1] v>
{ p = Conv<pads=[1,1,1,1]>(x, w)  q = BatchNormalization(p, s, t, m, var)  r = Relu(q)  y = Conv(r, v) }"""

INSIDE = """(float[N,8] x) => (float[N,4] y) <{dtype}[8,16] w, {dtype}[16,4] v>
{{ h = Cast<to={to}>(x)  p = MatMul(h, w)  r = Relu(p)  q = MatMul(r, v)  y = Cast<to=1>(q) }}"""

NEWEST = 26  # the last opset of which the pinned ONNX Runtime runs every operator used here

#: Accepted: text, opset, sizes of the groups found. Parity with ONNX Runtime is part of inspection.
ACCEPTED: dict[str, tuple[str, int, list[int]]] = {
    "float16": (MLP.format(dtype="float16"), 17, [16]),
    "float16_convolutions": (CONV, 17, [6]),
    "bfloat16": (MLP.format(dtype="bfloat16"), 17, [16]),
    "bfloat16_convolutions": (CONV.replace("float16", "bfloat16"), 17, [6]),
    "bfloat16_inside_float32": (INSIDE.format(dtype="bfloat16", to=16), 17, [16]),
    "float64": (MLP.format(dtype="double"), 17, [16]),
    **{f"opset_{n}": (MLP.format(dtype="float"), n, [16]) for n in (7, 9, 11, 13, 15, 18, 21, 24, NEWEST)},
    "float16_inside_float32": (INSIDE.format(dtype="float16", to=10), 17, [16]),
    "several_inputs_and_outputs_some_unused": (
        """(float[N,8] x, float[N,3] unused, float[N,8] z) => (float[N,4] y, float[N,2] u, float[N,8] z)
        <float[8,16] w, float[16,4] v0, float[16,2] v1, float[7] nobody>
        { s = Add(x, z)  p = MatMul(s, w)  r = Relu(p)  dead = Erf(r)
          y = MatMul(r, v0)  u = MatMul(r, v1) }""",
        17,
        [16],
    ),
    "an_output_that_is_a_weight": (
        """(float[N,8] x) => (float[N,4] y, float[3] k) <float[8,16] w, float[16,4] v, float[3] k>
        { p = MatMul(x, w)  r = Relu(p)  y = MatMul(r, v) }""",
        17,
        [16],
    ),
    "integer_inputs": (
        """(int64[N,5] ids, uint8[N,8] x) => (float[N,4] y) <float[20,8] table, float[8,16] w, float[16,4] v>
        { e = Gather(table, ids)  m = ReduceMean<axes=[1], keepdims=0>(e)  f = Cast<to=1>(x)
          s = Add(m, f)  p = MatMul(s, w)  r = Relu(p)  y = MatMul(r, v) }""",
        17,
        [16],  # the table's columns are tied to the input added to them
    ),
    "tied_weights": (
        """(float[N,8] x) => (float[N,8] y) <float[8,16] w>
        { p = MatMul(x, w)  r = Relu(p)  t = Transpose<perm=[1,0]>(w)  y = MatMul(r, t) }""",
        17,
        [16],
    ),
    "one_weight_twice": (
        """(float[N,8] x) => (float[N,8] y) <float[8,8] w>
        { p = MatMul(x, w)  r = Relu(p)  q = MatMul(r, w)  s = Tanh(q)  y = MatMul(s, w) }""",
        17,
        [],
    ),
    "dropout_with_a_ratio_and_flattening_softmax": (
        """(float[N,2,4] x) => (float[N,2,4] y) <float[4,16] w, float[16,4] v>
        { d = Dropout<ratio=0.5>(x)  p = MatMul(d, w)  r = Relu(p)  q = MatMul(r, v)
          y = Softmax<axis=1>(q) }""",
        7,
        [16],
    ),
    "upsample_with_scales": (
        """(float[N,3,4,4] x) => (float[N,2,8,8] y) <float[6,3,1,1] w, float[2,6,1,1] v>
        { p = Conv(x, w)  u = Upsample<scales=[1.0,1.0,2.0,2.0]>(p)  r = Relu(u)  y = Conv(r, v) }""",
        7,
        [6],
    ),
    "a_constant_condition": (
        """(float[N,8] x) => (float[N,4] y) <float[8,16] w, float[16,4] v>
        { c = Constant<value = bool {1}>()  p = MatMul(x, w)
          r = If<then_branch = t () => (float[N,16] a) { a = Relu(p) },
                 else_branch = e () => (float[N,16] b) { b = Tanh(p) }>(c)
          y = MatMul(r, v) }""",
        17,
        [16],
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_kind_of_model_is_accepted(name: str) -> None:
    text, opset, groups = ACCEPTED[name]
    found = inspect(as_model(text, opset).SerializeToString())
    assert [b for b in found.blockers if not b.startswith("nothing_to_compress")] == []
    assert [g["structures"] for g in found.groups] == groups


def mlp() -> onnx.ModelProto:
    return as_model(MLP.format(dtype="float"), 17)


def test_weights_may_be_constants_of_nodes() -> None:
    model = mlp()
    for number, weight in enumerate(model.graph.initializer):
        model.graph.node.insert(number, helper.make_node("Constant", [], [weight.name], value=weight))
    model.graph.ClearField("initializer")
    assert [g["structures"] for g in inspect(model.SerializeToString()).groups] == [16]


def test_weights_may_be_inputs_with_defaults() -> None:
    model = as_model(MLP.format(dtype="float"), 8)
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    found = inspect(model.SerializeToString())
    assert found.inputs == ["x: float32[N, 8]"]
    assert [g["structures"] for g in found.groups] == [16]


def test_nodes_need_no_names_and_functions_are_inlined() -> None:
    model = mlp()
    body = [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["r"])]
    block = helper.make_function("local", "Block", ["a", "b"], ["r"], body, [helper.make_opsetid("", 17)])
    model.functions.append(block)
    model.opset_import.append(helper.make_opsetid("local", 1))
    del model.graph.node[:3]
    model.graph.node.insert(0, helper.make_node("Block", ["x", "w"], ["r"], domain="local"))
    assert not any(node.name for node in model.graph.node)
    found = inspect(model.SerializeToString())
    assert found.operators == {"MatMul": 2, "Relu": 1}
    assert [g["structures"] for g in found.groups] == [16]


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_weights_become_dense(flat: bool) -> None:
    model, places = mlp(), np.array([[0, 3], [5, 1], [7, 15]])
    indices = places[:, 0] * 16 + places[:, 1] if flat else places
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(indices.astype(np.int64)), [8, 16])
    )
    tensor = load_model(model.SerializeToString()).graph.initializers["w"].const_value
    assert tensor is not None
    expected = np.zeros((8, 16), np.float32)
    expected[tuple(places.T)] = [1, 2, 3]
    np.testing.assert_array_equal(tensor.numpy(), expected)
    with pytest.raises(ModelTooLarge):
        load_model(model.SerializeToString(), Limits(dense_elements=100))


def test_sparse_indices_beyond_the_shape_are_an_error() -> None:
    model = mlp()
    values = numpy_helper.from_array(np.array([1], np.float32), "w")
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([128])), [8, 16])
    )
    with pytest.raises(ModelInvalid):
        load_model(model.SerializeToString())


def quantised() -> onnx.ModelProto:
    text = """(float[N,8] x) => (float[N,4] y) <float[8,16] w, float[16,4] v>
    { s = Constant<value = float {0.1}>()  z = Constant<value = int8 {0}>()  q = QuantizeLinear(x, s, z)
      d = DequantizeLinear(q, s, z)  p = MatMul(d, w)  r = Relu(p)  y = MatMul(r, v) }"""
    return as_model(text, 17)


def test_quantised_models_are_told_to_come_as_floats() -> None:
    with pytest.raises(ModelQuantized, match="hand in the float model") as caught:
        load_model(quantised().SerializeToString())
    assert caught.value.nodes == ["q (QuantizeLinear)", "d (DequantizeLinear)"]
    assert inspect(quantised().SerializeToString()).blockers[0].startswith("model_quantized")


def of_type(made: onnx.TypeProto) -> onnx.ModelProto:
    model = mlp()
    model.graph.output.append(onnx.ValueInfoProto(name="z", type=made))
    model.graph.node.append(helper.make_node("Identity", ["x"], ["z"]))
    return model


FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 8])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (of_type(helper.make_sequence_type_proto(FLOATS)), "output 'z' is a sequence"),
        (of_type(helper.make_optional_type_proto(FLOATS)), "output 'z' is optional"),
        (of_type(helper.make_map_type_proto(TensorProto.INT64, FLOATS)), "'z' is a map of class names"),
        (of_type(helper.make_tensor_type_proto(TensorProto.STRING, ["N"])), "output 'z' holds strings"),
    ],
    ids=["sequence", "optional", "map", "string"],
)
def test_a_kind_of_model_is_refused_by_name(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        load_model(model.SerializeToString())


def test_a_type_without_kernels_says_so() -> None:
    text = CONV.replace("float16", "double")
    blockers = inspect(as_model(text, 17).SerializeToString()).blockers
    assert ["ONNX Runtime has no kernel" in b for b in blockers] == [True]


@pytest.mark.parametrize(
    "body",
    [
        "c = Constant<value = int64[1] {10000000000}>()  t = Tile(w, c)  y = Mul(x, t)",
        """a = Constant<value = float {0.0}>()  b = Constant<value = float {1e10}>()
        c = Constant<value = float {1.0}>()  r = Range(a, b, c)  y = Mul(x, r)""",
        "c = Constant<value = int64[2] {1000000, 1000000}>()  t = ConstantOfShape(c)  y = MatMul(x, t)",
    ],
    ids=["tile", "range", "constant_of_shape"],
)
def test_small_constants_cannot_ask_for_much_memory(body: str) -> None:
    with pytest.raises(ModelTooLarge):
        inspect(
            as_model(f"(float[N,8] x) => (float[N,M] y) <float[8] w> {{ {body} }}", 17).SerializeToString()
        )


def test_declared_sizes_without_data_are_refused() -> None:
    model = mlp()
    model.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(ModelTooLarge):
        load_model(model.SerializeToString())
    model.graph.initializer[0].dims[:] = [10**3, 10**3]
    with pytest.raises(ModelError):
        load_model(model.SerializeToString())
    model = as_model("(float[N,1000000000] x) => (float[N,1] y) { y = ReduceMax<axes=[1]>(x) }", 17)
    with pytest.raises(ModelTooLarge):
        load_model(model.SerializeToString())
