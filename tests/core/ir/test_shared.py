"""What batch normalisations share, and what each has to itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sosp_core.ir.normalize import normalize
from sosp_core.runtime.session import open_session, run

#: As exporters merge equal tensors of an untrained network: ones are scale and variance, zeros the rest.
MERGED = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4,5,5] x) => (float[N,4,3,3] y)
    <float[4,4,1,1] a, float[4,4,3,3] b, float[4] ones = {1, 1, 1, 1}, float[4] zeros = {0, 0, 0, 0}>
    {
      p = Conv(x, a, zeros)
      q = BatchNormalization(p, ones, zeros, zeros, ones)
      r = Conv(q, b)
      y = BatchNormalization(r, ones, zeros, zeros, ones)
    }"""


@pytest.fixture
def model() -> ir.Model:
    proto = onnx.parser.parse_model(MERGED)
    rng = np.random.default_rng(0)
    kept = [t for t in proto.graph.initializer if t.name not in "ab"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for name, shape in (("a", (4, 4, 1, 1)), ("b", (4, 4, 3, 3))):
        weight = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return ir.from_proto(proto)


def norms(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "BatchNormalization"]


def test_statistics_are_never_shared_with_what_is_learnt(model: ir.Model) -> None:
    normalize(model)
    readers = [(node, position) for node in norms(model) for position in (3, 4)]
    for node, position in readers:
        value = node.inputs[position]
        assert value is not None
        assert len(value.uses()) == 1, (node.name, position)
    first, second = norms(model)
    assert first.inputs[1] is not second.inputs[1]


def test_copies_compute_the_same(model: ir.Model) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 4, 5, 5)).astype(np.float32)}
    before = run(open_session(model.clone()), feeds)
    after = run(open_session(normalize(model)), feeds)
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-6, atol=1e-6)
