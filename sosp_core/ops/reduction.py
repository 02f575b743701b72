"""Reductions: they pass the axes they leave, and may sum over structure but not average it."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.view import attribute, ints
from sosp_core.ops.flow import Flow
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules

#: A channel of zeros adds nothing to these, so silencing a channel equals removing it.
SUMS = ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
OTHERS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")


@rules.register(*SUMS, *OTHERS)
def reduce(node: ir.Node, flow: Flow) -> None:
    """Reduce ``axes`` (all, if none are given), keeping them as size one on demand.

    Spec: https://onnx.ai/onnx/operators/onnx__ReduceMean.html
    """
    x = node.inputs[0]
    if x is None:
        return
    rank = len(flow.shape(x))
    axes = ints(node, "axes", 1)
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        flow.refuse(node, "its axes are computed")
        return
    if not axes:
        if attribute(node, "noop_with_empty_axes", 0):
            flow.emit(node.outputs[0], flow.peek(x))
            return
        axes = list(range(rank))
    reduced = {axis % rank for axis in axes}
    _consume(node, flow, x, reduced)
    flow.emit(node.outputs[0], _remaining(flow.peek(x), reduced, bool(attribute(node, "keepdims", 1))))


@rules.register("ArgMax", "ArgMin")
def arg_extremum(node: ir.Node, flow: Flow) -> None:
    """The position of an extremum along ``axis`` names a channel: it must not shift."""
    x = node.inputs[0]
    if x is None:
        return
    axis = attribute(node, "axis", 0) % len(flow.shape(x))
    flow.spare(x, {axis})
    if (axis,) in flow.peek(x):
        flow.refuse(node, "its result is a position along the channels", flow.peek(x)[axis,])
    flow.emit(node.outputs[0], _remaining(flow.peek(x), {axis}, bool(attribute(node, "keepdims", 1))))


def _consume(node: ir.Node, flow: Flow, x: ir.Value, reduced: set[int]) -> None:
    flow.spare(x, reduced)
    for axis in sorted(reduced):
        if (axis,) not in flow.peek(x):
            continue
        if node.op_type in SUMS:
            flow.read(node, 0, axis)
        else:
            flow.refuse(node, f"{node.op_type} over the channels", flow.peek(x)[axis,])


def _remaining(
    slots: dict[tuple[int, ...], Ids], reduced: set[int], keepdims: bool
) -> dict[tuple[int, ...], Ids]:
    kept = {axes: ids for axes, ids in slots.items() if not reduced & set(axes)}
    if keepdims:
        return kept
    return {tuple(a - sum(r < a for r in reduced) for a in axes): ids for axes, ids in kept.items()}
