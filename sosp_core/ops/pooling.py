"""Pooling and resampling: they work within each channel."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow
from sosp_core.ops.integers import follow_target
from sosp_core.ops.table import rules


@rules.register("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(node: ir.Node, flow: Flow) -> None:
    """Batch and channel axes pass; the spatial ones are windowed.

    Spec: https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    x = node.inputs[0]
    if x is None:
        return
    flow.spare(x, range(2, len(flow.shape(x))))
    slots = flow.of(x)
    spatial = [ids for axis, ids in slots.items() if axis > 1]
    if spatial:
        flow.refuse(node, "structure on a spatial axis", *spatial)
    if len(node.outputs) > 1 and node.outputs[1].uses():
        flow.refuse(node, "its indices are used and count positions across channels")
    flow.emit(node.outputs[0], {a: ids for a, ids in slots.items() if a <= 1})


@rules.register("Resize", "Upsample")
def resize(node: ir.Node, flow: Flow) -> None:
    """Axes that keep their size pass; a target size given as a constant is rewritten.

    Spec: https://onnx.ai/onnx/operators/onnx__Resize.html
    """
    x, y = node.inputs[0], node.outputs[0]
    if x is None:
        return
    axes = list(attribute(node, "axes", range(len(flow.shape(x)))))
    resized = {a for a, n in enumerate(flow.shape(x)) if flow.shape(y)[a] != n}
    flow.spare(x, resized)
    for axis, ids in flow.of(x).items():
        if axis in resized:
            flow.refuse(node, "structure on a resized axis", ids)
    flow.emit(y, flow.of(x))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        flow.later.append(lambda: follow_target(node, flow, 3, axes))
