"""Pooling and resampling: they work within each channel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant
from sosp_core.ops.flow import Flow, Place, SizeRule
from sosp_core.ops.table import rules


@rules.register("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(node: ir.Node, flow: Flow) -> None:
    """Batch and channel axes pass; the spatial ones are windowed.

    Spec: https://onnx.ai/onnx/operators/onnx__MaxPool.html
    """
    slots = flow.of(node.inputs[0])
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
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    axes = attribute(node, "axes")
    for axis, ids in flow.of(x).items():
        if flow.shape(x)[axis] != flow.shape(y)[axis]:
            flow.refuse(node, "structure on a resized axis", ids)
        if sizes is None or (axes is not None and axis not in axes):
            continue
        if constant(sizes) is None:
            flow.refuse(node, "its target size is computed", ids)
        else:
            index = axis if axes is None else list(axes).index(axis)
            flow.sizes.append(
                SizeRule(place=Place(node=node.name or "", position=3, index=index), ids=np.asarray(ids))
            )
    flow.emit(y, flow.of(x))
