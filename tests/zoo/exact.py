"""Outputs in float64: the same graph, computed to ten digits more than its file asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
from sosp_core.runtime.session import Array


def outputs_in_double(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """By name; ONNX Runtime lacks many kernels for doubles, so the torch twin computes them."""
    network = Network(model).double()
    arguments = [torch.as_tensor(feeds[name]) for name in network.input_names]
    with torch.no_grad():
        results = network(*(a.double() if a.is_floating_point() else a for a in arguments))
    return {name: y.numpy() for name, y in zip(network.output_names, results, strict=True)}


def doubled(model: ir.Model) -> ir.Model:
    """A copy that holds float64 wherever the model holds float32, so that nothing is rounded to be stored."""
    wide = model.clone()
    made = (v for node in wide.graph for v in node.outputs)
    for value in (*wide.graph.initializers.values(), *wide.graph.inputs, *made):
        if value.dtype == ir.DataType.FLOAT:
            value.type = ir.TensorType(ir.DataType.DOUBLE)
            if value.const_value is not None:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float64), name=value.name)
    return wide
