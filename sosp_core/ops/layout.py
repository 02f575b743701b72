"""Reshaping and transposing: the same is done to the slots, and the tensor stays rectangular."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant
from sosp_core.ops.flow import Flow
from sosp_core.ops.integers import Dimension, follow_target, trace
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
    out: dict[tuple[int, ...], Ids] = {}
    for axes, ids in flow.peek(x).items():
        moved = [perm.index(axis) for axis in axes]
        order = np.argsort(moved)
        out[tuple(moved[k] for k in order)] = np.ascontiguousarray(ids.transpose(order))
    flow.emit(node.outputs[0], out)


@rules.register("Flatten", "Squeeze", "Unsqueeze")
def relabel(node: ir.Node, flow: Flow) -> None:
    """Reshapes whose result follows from the input's shape: nothing to rewrite."""
    flow.emit(node.outputs[0], _reshaped(node, flow))


@rules.register("Shape", "Size")
def shape(node: ir.Node, flow: Flow) -> None:
    """Reads sizes at run time, when they are already the slim ones."""


@rules.register("ConstantOfShape")
def constant_of_shape(node: ir.Node, flow: Flow) -> None:
    """One number in the shape of another tensor (``zeros_like``): its widths follow that tensor's.

    Spec: https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html
    """
    target, y = node.inputs[0], node.outputs[0]
    if target is None:
        return
    whole = [trace(flow, target, axis, node, 0) for axis in range(len(flow.shape(y)))]
    carried = {
        axis: flow.of(size.value).get(size.axis)
        for axis, size in enumerate(whole)
        if isinstance(size, Dimension)
    }
    flow.emit(y, {axis: ids for axis, ids in carried.items() if ids is not None})
    flow.later.append(lambda: follow_target(node, flow, 0))


@rules.register("Expand")
def expand(node: ir.Node, flow: Flow) -> None:
    """Broadcast to a shape; axes that keep their size pass, and their target is rewritten.

    Spec: https://onnx.ai/onnx/operators/onnx__Expand.html
    """
    x, y = node.inputs[0], node.outputs[0]
    if x is None or not flow.peek(x):
        return
    before, after = flow.shape(x), flow.shape(y)
    grown = len(after) - len(before)
    stretched = {axis for axis, n in enumerate(before) if after[axis + grown] != n}
    flow.spare(x, stretched)
    out = {tuple(a + grown for a in axes): ids for axes, ids in flow.peek(x).items()}
    for axis in stretched:
        if (ids := out.pop((axis + grown,), None)) is not None:
            flow.refuse(node, "structure on a broadcast axis", ids)
    flow.emit(y, out)
    flow.later.append(lambda: follow_target(node, flow))


@rules.register("Tile")
def tile(node: ir.Node, flow: Flow) -> None:
    """Copies one after the other: along a structured axis every slot occurs once in each.

    Spec: https://onnx.ai/onnx/operators/onnx__Tile.html
    """
    x, repeats = node.inputs[0], constant(node.inputs[1])
    if x is None or not flow.peek(x):
        return
    if repeats is None:
        flow.refuse(node, "its repeats are computed")
        return
    out = {
        axes: np.tile(ids, [int(repeats.ravel()[axis]) for axis in axes])
        for axes, ids in flow.peek(x).items()
    }
    flow.emit(node.outputs[0], out)


@rules.register("Reshape")
def reshape(node: ir.Node, flow: Flow) -> None:
    """Same elements in row-major order under a new shape; constants of the target are rewritten.

    Where one structured axis is split in several, they carry the structure jointly until a reader
    decides: attention takes whole heads, a convolution channels, a shuffle puts them back.
    Spec: https://onnx.ai/onnx/operators/onnx__Reshape.html
    """
    flow.emit(node.outputs[0], _reshaped(node, flow))
    flow.later.append(lambda: follow_target(node, flow))


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


def _reshaped(node: ir.Node, flow: Flow) -> dict[tuple[int, ...], Ids]:
    x, y = node.inputs[0], node.outputs[0]
    if x is None or not flow.peek(x):
        return {}
    before, after = flow.shape(x), flow.shape(y)
    if 0 in before:
        flow.refuse(node, "an empty tensor")
        return {}
    out: dict[tuple[int, ...], Ids] = {}
    for joints, block in _linked(list(_blocks(before, after)), flow.peek(x)):
        if len(joints) > 1:
            flow.refuse(node, "it merges two structured axes", *joints.values())
            continue
        ((axes, ids),) = joints.items()
        out |= _through(block, before, after, axes, ids)
    return out


def _linked(
    blocks: list[_Block], slots: dict[tuple[int, ...], Ids]
) -> Iterator[tuple[dict[tuple[int, ...], Ids], _Block]]:
    """Blocks that share a joint as one, each with all that is structured in it."""
    open_ = {axes: ids for axes, ids in slots.items() if any(set(axes) & set(b.inside) for b in blocks)}
    while open_:
        joints: dict[tuple[int, ...], Ids] = {}
        reached: list[_Block] = []
        wanted = set(next(iter(open_)))
        while wanted:
            near = [b for b in blocks if b not in reached and wanted & set(b.inside)]
            reached += near
            inside = {axis for b in reached for axis in b.inside}
            touched = [axes for axes in open_ if inside & set(axes)]
            joints |= {axes: open_.pop(axes) for axes in touched}
            wanted = {axis for axes in touched for axis in axes} - inside
        yield (
            joints,
            _Block(
                tuple(sorted(axis for b in reached for axis in b.inside)),
                tuple(sorted(axis for b in reached for axis in b.outside)),
            ),
        )


def _through(
    block: _Block, before: tuple[int, ...], after: tuple[int, ...], axes: tuple[int, ...], ids: Ids
) -> dict[tuple[int, ...], Ids]:
    """Carry the ids of one joint through a block; axes along which they do not vary drop out."""
    aligned = ids.reshape([before[a] if a in axes else 1 for a in block.inside])
    joint = np.broadcast_to(aligned, [before[a] for a in block.inside])
    joint = np.ascontiguousarray(joint).reshape([after[a] for a in block.outside])
    outside = list(block.outside)
    for k in reversed(range(len(outside))):
        if len(outside) > 1 and bool((joint == joint.take([0], axis=k)).all()):
            joint = np.moveaxis(joint, k, 0)[0]
            del outside[k]
    return {tuple(outside): joint}
