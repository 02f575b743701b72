"""Operators that work element by element: equal positions of their inputs belong together."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ops.flow import Flow
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules

UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp "
    "Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu "
    "Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"
).split()
NARY = (
    "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean "
    "Min Mod Mul Or PRelu Pow Sub Sum Where Xor"
).split()


@rules.register(*UNARY)
def unary(node: ir.Node, flow: Flow) -> None:
    """Slots of the first input pass to every output of its shape; others are scalars."""
    for output in node.outputs:
        if output.name:
            flow.emit(output, flow.of(node.inputs[0]))


@rules.register(*NARY)
def nary(node: ir.Node, flow: Flow) -> None:
    """Broadcast: axes align from the right; what meets on a structured axis is united.

    A stored operand of full size along the axis is sliced with it; a computed one without
    structure there cannot shrink, so the axis stays.
    Spec: https://onnx.ai/onnx/repo-docs/Broadcasting.html
    """
    y_shape = flow.shape(node.outputs[0])
    rank = len(y_shape)
    out: dict[int, Ids] = {}
    for axis in range(rank):
        if (ids := _meet(node, flow, axis, rank, y_shape[axis])) is not None:
            out[axis] = ids
    flow.emit(node.outputs[0], out)


def _meet(node: ir.Node, flow: Flow, y_axis: int, rank: int, size: int) -> Ids | None:
    """Unite what the inputs carry on one output axis; the ids of the output, if any."""
    met: Ids | None = None
    rigid: list[str] = []
    stored: list[tuple[int, int]] = []
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        axis = len(flow.shape(value)) - rank + y_axis
        if axis < 0 or flow.shape(value)[axis] != size:
            continue  # broadcast along this axis
        ids = flow.of(value).get(axis)
        if ids is not None:
            if met is not None:
                flow.space.unite(met, ids)
            met = ids if met is None else met
        elif value.is_initializer():
            stored.append((position, axis))
        else:
            rigid.append(value.name or "")
    if met is None or size == 1:
        return met
    for position, axis in stored:
        flow.bind(node, position, axis, met)
    if rigid:
        flow.refuse(node, f"combined with {rigid[0]!r}, whose width cannot change", met)
    return met
