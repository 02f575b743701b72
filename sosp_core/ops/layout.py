"""Reshaping and transposing: the same is done to the slots, and the tensor stays rectangular."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant
from sosp_core.ops.flow import Flow, Place, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules


@rules.register("Transpose")
def transpose(node: ir.Node, flow: Flow) -> None:
    """Output axis j is input axis ``perm[j]``; reversed if no permutation is given.

    Spec: https://onnx.ai/onnx/operators/onnx__Transpose.html
    """
    x = node.inputs[0]
    if x is None:
        return
    rank = len(flow.shape(x))
    perm = list(attribute(node, "perm", range(rank)[::-1]))
    flow.emit(node.outputs[0], {perm.index(axis): ids for axis, ids in flow.of(x).items()})


@rules.register("Flatten", "Squeeze", "Unsqueeze")
def relabel(node: ir.Node, flow: Flow) -> None:
    """Reshapes whose result follows from the input's shape: nothing to rewrite."""
    flow.emit(node.outputs[0], _reshaped(node, flow))


@rules.register("Shape", "Size")
def shape(node: ir.Node, flow: Flow) -> None:
    """Reads sizes at run time, when they are already the slim ones."""


@rules.register("Expand")
def expand(node: ir.Node, flow: Flow) -> None:
    """Broadcast to a shape; axes that keep their size pass, and their target is rewritten.

    Spec: https://onnx.ai/onnx/operators/onnx__Expand.html
    """
    x, y = node.inputs[0], node.outputs[0]
    if x is None or not flow.of(x):
        return
    grown = len(flow.shape(y)) - len(flow.shape(x))
    out = {axis + grown: ids for axis, ids in flow.of(x).items()}
    target = node.inputs[1]
    for axis, ids in list(out.items()):
        if len(ids) != flow.shape(y)[axis]:
            flow.refuse(node, "structure on a broadcast axis", ids)
            del out[axis]
        elif target is not None and not _follow_target(node, flow, axis, ids):
            flow.refuse(node, "its target shape is computed", ids)
    flow.emit(y, out)


@rules.register("Reshape")
def reshape(node: ir.Node, flow: Flow) -> None:
    """Same elements in row-major order under a new shape; constants of the target are rewritten.

    Where one structured axis is split in several, structure goes on along the largest and is
    united over the others: a channel shuffle keeps (groups, channels), removing position c of
    every group.
    Spec: https://onnx.ai/onnx/operators/onnx__Reshape.html
    """
    out = _reshaped(node, flow)
    for axis, ids in list(out.items()):
        if not _follow_target(node, flow, axis, ids):
            flow.refuse(node, "its target shape is computed in a way that cannot be followed", ids)
    for axis in set(range(len(flow.shape(node.outputs[0])))) - out.keys():
        _hold(node, flow, axis)
    flow.emit(node.outputs[0], out)


@dataclass(frozen=True)
class _Block:
    """Input and output axes that hold the same elements; axes of size one are in no block."""

    inside: tuple[int, ...]
    outside: tuple[int, ...]


def _blocks(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[_Block]:
    """Cut two shapes of equal size into the smallest runs of axes with equal products."""
    a = [i for i, n in enumerate(before) if n != 1]
    b = [i for i, n in enumerate(after) if n != 1]
    i = j = 0
    while i < len(a) and j < len(b):
        start_i, start_j = i, j
        left, right = before[a[i]], after[b[j]]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * before[a[i]], i + 1
            else:
                right, j = right * after[b[j]], j + 1
        yield _Block(tuple(a[start_i:i]), tuple(b[start_j:j]))


def _reshaped(node: ir.Node, flow: Flow) -> dict[int, Ids]:
    x, y = node.inputs[0], node.outputs[0]
    if x is None or not flow.of(x):
        return {}
    before, after = flow.shape(x), flow.shape(y)
    if 0 in before:
        flow.refuse(node, "an empty tensor")
        return {}
    slots = flow.of(x)
    out: dict[int, Ids] = {}
    for block in _blocks(before, after):
        structured = [axis for axis in block.inside if axis in slots]
        if len(structured) > 1:
            flow.refuse(node, "it merges two structured axes", *(slots[a] for a in structured))
        elif structured:
            axis, ids = _through(flow, block, before, after, structured[0], slots[structured[0]])
            out[axis] = ids
    return out


def _through(
    flow: Flow, block: _Block, before: tuple[int, ...], after: tuple[int, ...], axis: int, ids: Ids
) -> tuple[int, Ids]:
    """Carry the ids of one input axis through a block: the output axis and its ids."""
    inside = [before[a] for a in block.inside]
    at = block.inside.index(axis)
    joint = np.broadcast_to(ids.reshape([-1 if k == at else 1 for k in range(len(inside))]), inside)
    joint = np.ascontiguousarray(joint).reshape([after[a] for a in block.outside])
    widest = int(np.argmax(joint.shape))
    return block.outside[widest], flow.unite_over(joint, widest)


def _follow_target(node: ir.Node, flow: Flow, axis: int, ids: Ids) -> bool:
    """Make the target shape's element ``axis`` follow the kept slots; False if it cannot."""
    target = node.inputs[1]
    source = None if target is None else _element(target, axis, node, 1)
    if source is None:
        return False
    if isinstance(source, _FromShape):
        carried = flow.of(source.value).get(source.axis)
        return carried is not None and np.array_equal(carried, ids)
    if source.number == -1:
        return True
    if source.number == 0 and not attribute(node, "allowzero", 0):
        carried = flow.of(node.inputs[0]).get(axis)
        return carried is not None and np.array_equal(carried, ids)
    _tie(flow, source.place, ids)
    return True


def _tie(flow: Flow, place: Place, ids: Ids) -> None:
    """Let an integer follow ``ids``; where several targets are computed from it, all fall together."""
    for known in (rule.ids for rule in flow.sizes if rule.place == place):
        flow.space.unite(known, ids)
    flow.sizes.append(SizeRule(place=place, ids=ids))


def _hold(node: ir.Node, flow: Flow, axis: int) -> None:
    """Keep the integer behind a target's axis without structure, if other nodes compute from it too."""
    target = node.inputs[1]
    source = None if target is None else _element(target, axis, node, 1)
    if isinstance(source, _Constant) and source.number > 0 and source.place.node != (node.name or ""):
        fixed = flow.space.mint(source.number)
        flow.space.freeze(fixed, f"{node.name}: its target shape is fixed")
        _tie(flow, source.place, fixed)


@dataclass(frozen=True)
class _Constant:
    number: int
    place: Place


@dataclass(frozen=True)
class _FromShape:
    value: ir.Value
    axis: int


def _element(value: ir.Value, index: int, user: ir.Node, position: int) -> _Constant | _FromShape | None:
    """Trace one element of a computed shape back to a constant or to a dimension of a tensor."""
    if (array := constant(value)) is not None:
        place = Place(node=user.name or "", position=position, index=index)
        return _Constant(int(np.atleast_1d(array).ravel()[index]), place)
    node = value.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type in ("Unsqueeze", "Squeeze", "Cast", "Identity", "Reshape"):
        return _element(node.inputs[0], index, node, 0)
    if node.op_type == "Shape":
        return _FromShape(node.inputs[0], index + int(attribute(node, "start", 0)))
    if node.op_type == "Gather":
        picked = constant(node.inputs[1])
        return None if picked is None else _gathered(node, int(np.atleast_1d(picked).ravel()[index]))
    if node.op_type == "Slice":
        starts = constant(node.inputs[1])
        return (
            None
            if starts is None or starts.ravel()[0] < 0
            else _gathered(node, int(starts.ravel()[0]) + index)
        )
    if node.op_type == "Concat":
        return _concatenated(node, index)
    return None


def _gathered(node: ir.Node, index: int) -> _Constant | _FromShape | None:
    source = node.inputs[0]
    return None if source is None or index < 0 else _element(source, index, node, 0)


def _concatenated(node: ir.Node, index: int) -> _Constant | _FromShape | None:
    for position, part in enumerate(node.inputs):
        if part is None or part.shape is None or not part.shape.is_static():
            return None
        length = prod(int(d) for d in part.shape.numpy())
        if index < length:
            return _element(part, index, node, position)
        index -= length
    return None
