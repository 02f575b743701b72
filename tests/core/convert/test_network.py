"""The network as a whole: element types, and what it says when it cannot compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from sosp_core.convert import check
from sosp_core.convert.check import HALF_TOLERANCE, TOLERANCE, require_same_function, tolerance_of
from sosp_core.convert.network import Network
from sosp_core.errors import ConversionDiverged, ConversionFailed
from sosp_core.finetune.write_back import write_back
from tests.zoo.built import prepare
from tests.zoo.graphs import as_model

HALF = """(float16[N,8] x) => (float16[N,4] y)
<float16[8,16] w, float16[16] b, float16[16,4] v, float16[16] k>
{ p = MatMul(x, w)  q = Add(p, b)  r = Relu(q)
  s = Mul(r, k)  t = Cast<to=10>(s)  y = MatMul(t, v) }"""


def test_float16_is_computed_in_float32_and_written_back_as_float16() -> None:
    built = prepare(as_model(HALF, 17).SerializeToString())
    network = Network(built.model)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    (y,) = network(torch.as_tensor(built.feeds["x"]))
    assert y.dtype == torch.float32
    assert tolerance_of(built.model) == HALF_TOLERANCE
    # One rounding to 11 bits in each of six operators.
    assert require_same_function(network, built.model, built.feeds) < 6 * 2**-11
    before = {n: v.const_value.numpy() for n, v in built.model.graph.initializers.items() if v.const_value}
    for name, value in write_back(network, built.model).graph.initializers.items():
        assert value.const_value is not None
        assert value.const_value.numpy().dtype == np.float16
        np.testing.assert_array_equal(value.const_value.numpy(), before[name])


def test_float32_keeps_its_tolerance() -> None:
    built = prepare(as_model(HALF.replace("float16", "float").replace("=10", "=1"), 17).SerializeToString())
    assert tolerance_of(built.model) == TOLERANCE


def test_a_network_that_stops_names_the_node() -> None:
    built = prepare(as_model(HALF.replace("float16", "float").replace("=10", "=1"), 17).SerializeToString())
    network = Network(built.model)
    weight = getattr(network, network.attribute_of["v"])
    weight.data = weight.data[:-1]
    with pytest.raises(ConversionFailed, match="shapes") as caught:
        require_same_function(network, built.model, built.feeds)
    assert caught.value.node is not None
    assert caught.value.node.startswith("MatMul")


def chaotic(depth: int = 60) -> bytes:
    """Angles doubled again and again: what differs in the last digit differs in the first, in the end."""
    body = " ".join(
        f"s{i} = Mul(a{i}, two)  a{i + 1} = {'Sin' if i % 2 else 'Cos'}(s{i})" for i in range(depth)
    )
    head = "(float[N,8] x) => (float[N,8] y) <float[1] two = {4.0}>"
    return as_model(f"{head} {{ a0 = Tanh(x) {body} y = Identity(a{depth}) }}", 17).SerializeToString()


def altered(network: Network, value: str) -> Network:
    """The network, one of its nodes computing a little more than it should."""
    steps = [
        replace(step, compute=lambda *a, was=step.compute: was(*a) * 1.01) if value in step.outputs else step
        for step in network._steps
    ]
    network._steps = steps
    return network


def test_rounding_that_grows_is_told_from_a_wrong_node(monkeypatch: pytest.MonkeyPatch) -> None:
    built = prepare(chaotic())
    with pytest.raises(ConversionDiverged, match="every node agrees by itself") as caught:
        require_same_function(Network(built.model), built.model, built.feeds)
    assert caught.value.node is None
    monkeypatch.setattr(check, "MOST_ROUNDING", 10.0)
    assert require_same_function(Network(built.model), built.model, built.feeds) > TOLERANCE
    name = next(v.name for n in built.model.graph if n.op_type == "Sin" for v in n.outputs)
    with pytest.raises(ConversionDiverged) as caught:
        require_same_function(altered(Network(built.model), name), built.model, built.feeds)
    assert caught.value.tensor == name
    assert caught.value.node is not None


@pytest.mark.parametrize("hidden", [-np.inf, -1e30])
def test_a_mask_with_infinities_is_no_weight(hidden: float) -> None:
    text = "(float[N,4,4] x) => (float[N,4,4] y) <float[4,4] mask> { s = Add(x, mask)  y = Softmax(s) }"
    model = as_model(text, 17)
    mask = np.where(np.tril(np.ones((4, 4))), 0, hidden).astype(np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(mask, "mask"))
    network = Network(prepare(model.SerializeToString()).model)
    assert len(list(network.parameters())) == np.isfinite(hidden)


def test_only_tensors_of_four_axes_hold_their_channels_last() -> None:
    text = """(float[N,3,4,4] x) => (float[N,2,4,4,3] y)
    <float[6,3,3,3] w, float[6] b, float[1,2,1,1,3] k, int64[5] to = {-1, 2, 3, 4, 4}>
    { p = Conv<pads=[1,1,1,1]>(x, w, b)  r = Reshape(p, to)
      t = Transpose<perm=[0,1,3,4,2]>(r)  y = Mul(t, k) }"""
    built = prepare(as_model(text, 17).SerializeToString())
    network = Network(built.model)
    inputs = [torch.as_tensor(built.feeds["x"])]
    (before,) = network(*inputs)
    (after,) = network.on(torch.device("cpu"))(*inputs)
    torch.testing.assert_close(after, before)
    weight, factor = (getattr(network, network.attribute_of[name]) for name in ("w", "k"))
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert factor.is_contiguous()
