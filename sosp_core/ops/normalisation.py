"""Normalisations and softmax: exact where they work within a channel, refused across channels."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Place, SizeRule
from sosp_core.ops.pointwise import nary
from sosp_core.ops.table import MICROSOFT, rules


@rules.register("BatchNormalization", "InstanceNormalization")
def per_channel(node: ir.Node, flow: Flow) -> None:
    """``y[c] = γ[c]·(x[c] − μ[c]) / σ[c] + β[c]``: all parameters run along axis 1.

    Spec: https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """
    x = node.inputs[0]
    if x is None:
        return
    flow.spare(x, range(2, len(flow.shape(x))))
    ids = flow.of(x).get(1)
    if ids is not None:
        for position, value in enumerate(node.inputs[1:], start=1):
            if value is None or not value.is_initializer():
                flow.refuse(node, "its parameters are computed, not stored")
                return
            flow.bind(node, position, 0, ids)
    # Statistics of each instance run over the later axes; stored ones (BatchNormalization) do not.
    over = {a for a in flow.of(x) if a > 1} if node.op_type.startswith("Inst") else set()
    _across(node, flow, over, "it normalises over the channels")


@rules.register("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: ir.Node, flow: Flow) -> None:
    """Normalises over ``axis``; before opset 13 over everything from ``axis`` on.

    Spec: https://onnx.ai/onnx/operators/onnx__Softmax.html
    """
    if node.inputs[0] is None:
        return
    rank = len(flow.shape(node.inputs[0]))
    axis = attribute(node, "axis", -1 if flow.opset >= 13 else 1) % rank
    over = {axis} if flow.opset >= 13 else set(range(axis, rank))
    _across(node, flow, over, "it normalises over the channels")


@rules.register("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(node: ir.Node, flow: Flow) -> None:
    """Mean and variance over ``axis`` and all later axes.

    Spec: https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
    """
    if node.inputs[0] is None:
        return
    rank = len(flow.shape(node.inputs[0]))
    over = set(range(attribute(node, "axis", -1) % rank, rank))
    _across(node, flow, over, "it normalises over the channels")


@rules.register("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(node: ir.Node, flow: Flow) -> None:
    """Normalises a sum over its last axis, which stays; the fourth output is that sum."""
    nary(node, flow)
    summed = flow.peek(node.outputs[0])
    last = len(flow.shape(node.outputs[0])) - 1
    for axes, ids in summed.items():
        if last in axes:
            flow.refuse(node, "it normalises over the channels", ids)
    if len(node.outputs) > 3 and node.outputs[3].name:
        flow.emit(node.outputs[3], summed)


@rules.register("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_normalization(node: ir.Node, flow: Flow) -> None:
    """Normalises a sum of embeddings over their width, which stays; the third output is that sum."""
    width = flow.space.mint(flow.shape(node.outputs[0])[2])
    flow.refuse(node, "it normalises over the channels", width)
    for output in (node.outputs[0], *node.outputs[2:]):
        if output.name:
            flow.emit(output, {2: width})


@rules.register("GroupNormalization")
def group_normalization(node: ir.Node, flow: Flow) -> None:
    """Statistics over the channels of a group: whole groups go, and the others do not notice.

    Scale and bias have one entry for each channel, before opset 21 one for each group.
    Spec: https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
    """
    x = node.inputs[0]
    if x is None:
        return
    flow.spare(x, range(2, len(flow.shape(x))))
    ids, count = flow.of(x).get(1), attribute(node, "num_groups", 1)
    over = {axis for axis in flow.of(x) if axis > 1}
    if ids is not None:
        groups = flow.unite_over(ids.reshape(count, -1), axis=0)
        for position, value in enumerate(node.inputs[1:], start=1):
            if value is None or not value.is_initializer():
                flow.refuse(node, "its parameters are computed, not stored")
                return
            flow.bind(node, position, 0, groups if flow.shape(value) == (count,) else ids)
        flow.sizes.append(SizeRule(place=Place(node=node.name or "", name="num_groups"), ids=groups))
    _across(node, flow, over, "it normalises over the channels")


@rules.register("LRN", "LpNormalization", "MeanVarianceNormalization")
def across_channels(node: ir.Node, flow: Flow) -> None:
    """Statistics over several channels: removing one changes the others."""
    if node.inputs[0] is None:
        return
    _across(node, flow, set(range(len(flow.shape(node.inputs[0])))), "it normalises over the channels")


def _across(node: ir.Node, flow: Flow, axes: set[int], reason: str) -> None:
    flow.spare(node.inputs[0], axes)
    slots = flow.peek(node.inputs[0])
    for axis in axes:
        if (axis,) in slots:
            flow.refuse(node, reason, slots[axis,])
    flow.emit(node.outputs[0], slots)
