"""Give each layer a batch normalisation of its own, where an exporter merged equal ones.

PyTorch's classic exporter stores equal tensors once: two untrained layers then read one scale,
and their widths could only shrink together. A copy computes the same. What it loses is the tie
in training, so tensors stay shared where the layers before share their weight too: then the
author applied one module twice. Other tensors that nodes share (tied embeddings, a convolution
run at several scales) are meant to be, and stay one.

Mean and variance are measured where scale and bias are learnt: training moves one in place while
the other waits for its gradient, so they never stay one, even within a layer.
"""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.view import is_float

WEIGHTED = frozenset("Conv ConvTranspose Gemm MatMul".split())
#: Inputs of BatchNormalization that are statistics.
MEASURED = frozenset({3, 4})


def unshare_batchnorm(graph: ir.Graph) -> None:
    """Copy scale, bias, mean and variance that BatchNormalizations share, in place."""
    for name, value in list(graph.initializers.items()):
        uses = [(node, position) for node, position in value.uses() if node.op_type == "BatchNormalization"]
        if len(value.uses()) < 2 or not is_float(value):
            continue
        others = len(uses) < len(value.uses())
        owner_of: dict[tuple[str, int], ir.Value] = {}
        for node, position in uses:
            if others and position not in MEASURED:
                continue
            part = (_weight_before(node) or node.name or "", position)
            if not owner_of and not others:
                owner_of[part] = value
            elif part not in owner_of:
                owner_of[part] = _copy(graph, value, f"{name}.{node.name}.{position}")
            node.replace_input_with(position, owner_of[part])


def _weight_before(node: ir.Node) -> str | None:
    """The weight of the layer whose output is normalised."""
    layer = None if node.inputs[0] is None else node.inputs[0].producer()
    if layer is None or layer.op_type not in WEIGHTED or layer.inputs[1] is None:
        return None
    return layer.inputs[1].name


def _copy(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    copy = ir.Value(name=name, type=value.type, shape=value.shape)
    if value.const_value is not None:  # an initializer in normal form holds its values
        copy.const_value = ir.Tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=name)
    graph.register_initializer(copy)
    return copy
