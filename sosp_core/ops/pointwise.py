"""Operators that work element by element: equal positions of their inputs belong together."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ops.flow import Flow
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import MICROSOFT, rules

UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp "
    "Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu "
    "Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu"
).split()
NARY = (
    "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean "
    "Min Mod Mul Or PRelu Pow Sub Sum Where Xor"
).split()


@rules.register("Gelu", "QuickGelu", domain=MICROSOFT)
@rules.register(*UNARY)
def unary(node: ir.Node, flow: Flow) -> None:
    """Slots of the first input pass to every output of its shape; others are scalars."""
    for output in node.outputs:
        if output.name:
            flow.emit(output, flow.peek(node.inputs[0]))


@rules.register("BiasGelu", "FastGelu", domain=MICROSOFT)
@rules.register(*NARY)
def nary(node: ir.Node, flow: Flow) -> None:
    """Broadcast: axes align from the right; what meets on a structured axis is united.

    A stored operand of full size along the axis is sliced with it; a computed one without
    structure there cannot shrink, so the axis stays.
    Spec: https://onnx.ai/onnx/repo-docs/Broadcasting.html
    """
    y_shape = flow.shape(node.outputs[0])
    rank = len(y_shape)
    while _settle_one(node, flow, y_shape):
        pass
    out: dict[tuple[int, ...], Ids] = {}
    for value in node.inputs:
        for axes, ids in _aligned(flow, value, y_shape).items():
            if len(axes) > 1 and axes in out:
                flow.space.unite(out[axes], ids)
            elif len(axes) > 1:
                out[axes] = ids
    covered = {axis for axes in out for axis in axes}
    for axis in set(range(rank)) - covered:
        if (ids_ := _meet(node, flow, axis, rank, y_shape[axis])) is not None:
            out[axis,] = ids_
    flow.emit(node.outputs[0], out)
    if covered:
        flow.later.append(lambda: _bind_stored(node, flow, covered))


def _aligned(flow: Flow, value: ir.Value | None, y_shape: tuple[int, ...]) -> dict[tuple[int, ...], Ids]:
    """What an input carries, by axes of the output; without what is broadcast."""
    if value is None:
        return {}
    shift = len(y_shape) - len(flow.shape(value))
    return {
        tuple(a + shift for a in axes): ids
        for axes, ids in flow.peek(value).items()
        if all(flow.shape(value)[a] == y_shape[a + shift] for a in axes)
    }


def _settle_one(node: ir.Node, flow: Flow, y_shape: tuple[int, ...]) -> bool:
    """Let one joint give way where another input is rigid or structured otherwise; False if none has to."""
    rank = len(y_shape)
    inputs = [v for v in node.inputs if v is not None and not v.is_initializer()]
    for value in inputs:
        shift = rank - len(flow.shape(value))
        for joint in (axes for axes in _aligned(flow, value, y_shape) if len(axes) > 1):
            for other in inputs:
                start = rank - len(flow.shape(other))
                shared = {a for a in joint if a >= start and flow.shape(other)[a - start] == y_shape[a] > 1}
                held = set(_aligned(flow, other, y_shape))
                if other is value or not shared or joint in held:
                    continue
                rigid = shared - {a for axes in held for a in axes}
                alone = {a for a in shared if (a,) in held}
                yielded = rigid or set(joint) - {min(alone, default=joint[0])}
                flow.spare(value, {a - shift for a in yielded})
                if not rigid and not alone:
                    flow.of(other)
                return True
    return False


def _bind_stored(node: ir.Node, flow: Flow, axes: set[int]) -> None:
    """Slice what is stored along the axes that joints of the output have come to follow."""
    y_shape = flow.shape(node.outputs[0])
    for axis, ids in flow.of(node.outputs[0]).items():
        for position, value in enumerate(node.inputs):
            own = axis - len(y_shape) + (0 if value is None else len(flow.shape(value)))
            if value is None or axis not in axes or own < 0 or not value.is_initializer():
                continue
            if flow.shape(value)[own] == y_shape[axis]:
                flow.bind(node, position, own, ids)


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
        ids = flow.peek(value).get((axis,))
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
