"""Closed-form compensation: exact where the removed channels are combinations of the kept ones."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sosp_core.convert.network import Network
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.observe import observe_shapes
from sosp_core.structures.discover import discover
from sosp_core.surgery.apply import slim
from sosp_core.surgery.compensate import compensate
from sosp_core.surgery.verify import outputs_of


def redundant_conv(kernel: int) -> bytes:
    """Two convolutions; channel 2 of the first is always the sum of channels 0 and 1."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((3, 2, 1, 1)).astype(np.float32)
    first[2] = first[0] + first[1]
    second = rng.standard_normal((4, 3, kernel, kernel)).astype(np.float32)
    pads = [kernel // 2] * 4
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "first"], ["h"], name="first"),
            helper.make_node("Conv", ["h", "second"], ["y"], name="second", pads=pads),
        ],
        "redundant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 6, 6])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize(("kernel", "scale"), [(1, 1.0), (3, 1.0), (3, 1e20)])
def test_a_redundant_channel_is_removed_without_a_trace(kernel: int, scale: float) -> None:
    model = normalize(load_model(redundant_conv(kernel)))
    x = (scale * np.random.default_rng(1).standard_normal((64, 2, 6, 6))).astype(np.float32)
    structures = discover(model, observe_shapes(model, {"x": x[:2]}))
    alive = structures.all_alive()
    alive[2] = False
    cut = slim(model, structures, alive)
    expected = outputs_of(model, {"x": x})["y"]
    assert relative_error(outputs_of(cut, {"x": x})["y"], expected) > 0.1
    compensate(model, cut, structures, alive, Network(model), [[torch.as_tensor(x)]])
    # The ridge of 1e-3 shrinks the prediction by about as much; without it the match is exact.
    assert relative_error(outputs_of(cut, {"x": x})["y"], expected) < 5e-3
    onnx.checker.check_model(onnx.load_from_string(redundant_conv(kernel)))


def test_nothing_changes_where_nothing_was_removed() -> None:
    model = normalize(load_model(redundant_conv(3)))
    x = np.random.default_rng(1).standard_normal((8, 2, 6, 6)).astype(np.float32)
    structures = discover(model, observe_shapes(model, {"x": x[:2]}))
    cut = slim(model, structures, structures.all_alive())
    before = cut.graph.initializers["second"].const_value.numpy().copy()
    compensate(model, cut, structures, structures.all_alive(), Network(model), [[torch.as_tensor(x)]])
    np.testing.assert_array_equal(cut.graph.initializers["second"].const_value.numpy(), before)


def test_what_overflows_is_not_learnt_from() -> None:
    model = normalize(load_model(redundant_conv(3)))
    x = np.random.default_rng(1).standard_normal((8, 2, 6, 6)).astype(np.float32)
    structures = discover(model, observe_shapes(model, {"x": x[:2]}))
    alive = structures.all_alive()
    alive[2] = False
    cut = slim(model, structures, alive)
    before = cut.graph.initializers["second"].const_value.numpy().copy()
    compensate(model, cut, structures, alive, Network(model), [[torch.as_tensor(x) * 3e38]])
    np.testing.assert_array_equal(cut.graph.initializers["second"].const_value.numpy(), before)
