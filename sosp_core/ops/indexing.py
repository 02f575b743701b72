"""Joining, cutting and padding along an axis: slots are indexed just as the data are."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant, ints, is_float
from sosp_core.ops.flow import Flow, Layer, Place, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules


@rules.register("Concat")
def concat(node: ir.Node, flow: Flow) -> None:
    """Index j of input i becomes ``offset_i + j``; on other axes the inputs agree.

    Spec: https://onnx.ai/onnx/operators/onnx__Concat.html
    """
    present = [v for v in node.inputs if v is not None]
    rank = len(flow.shape(node.outputs[0]))
    joined = attribute(node, "axis", 1) % rank
    for value in present:
        flow.spare(value, {joined})
    carried = [set(flow.peek(v)) for v in present]
    if any(axes != carried[0] for axes in carried):  # joints here that are single axes there
        for value in present:
            flow.spare(value, _apart(carried, rank))
            flow.of(value)
    out: dict[tuple[int, ...], Ids] = {}
    for axes in sorted({axes for v in present for axes in flow.peek(v)}):
        if axes == (joined,):
            out[axes] = np.concatenate([_ids_or_rigid(node, flow, v, joined) for v in present])
        elif (agreed := _agree(node, flow, present, axes)) is not None:
            out[axes] = agreed
    flow.emit(node.outputs[0], out)


def _apart(carried: list[set[tuple[int, ...]]], rank: int) -> set[int]:
    """Axes on which some input has no structure at all."""
    covered = [{axis for axes in held for axis in axes} for held in carried]
    return {axis for axis in range(rank) if not all(axis in axes for axes in covered)}


def _ids_or_rigid(node: ir.Node, flow: Flow, value: ir.Value, axis: int) -> Ids:
    """The value's slots along ``axis``; frozen new ones where it has no structure."""
    ids = flow.peek(value).get((axis,))
    if ids is None:
        ids = flow.space.mint(flow.shape(value)[axis])
        flow.space.freeze(ids, f"{node.name}: {value.name!r} has no removable channels")
    return ids


def _agree(node: ir.Node, flow: Flow, present: list[ir.Value], axes: tuple[int, ...]) -> Ids | None:
    carried = [flow.peek(v).get(axes) for v in present]
    first = next(ids for ids in carried if ids is not None)
    for ids in carried:
        if ids is None:
            flow.refuse(node, "one of its inputs has no structure on a shared axis", first)
        else:
            flow.space.unite(first, ids)
    return first


@rules.register("Split")
def split(node: ir.Node, flow: Flow) -> None:
    """Consecutive pieces along ``axis``; sizes given as constants are rewritten.

    Normalisation writes sizes wherever widths are known; a split that still has none is one into
    equal parts, and a position leaves all of them or none.
    Spec: https://onnx.ai/onnx/operators/onnx__Split.html
    """
    x = node.inputs[0]
    if x is None:
        return
    rank = len(flow.shape(x))
    axis = attribute(node, "axis", 0) % rank
    flow.spare(x, {axis})
    ids = flow.peek(x).get((axis,))
    widths = [flow.shape(o)[axis] for o in node.outputs]
    pieces = [] if ids is None else [ids[a:b] for a, b in pairwise(accumulate(widths, initial=0))]
    if pieces and not _rewrite_sizes(node, flow, pieces):
        return
    for i, output in enumerate(node.outputs):
        passed = flow.peek(x)
        if pieces:
            passed[axis,] = pieces[i]
        flow.emit(output, passed)


def _rewrite_sizes(node: ir.Node, flow: Flow, pieces: list[Ids]) -> bool:
    sizes = node.inputs[1] if len(node.inputs) > 1 else None
    if sizes is not None and constant(sizes) is None:
        flow.refuse(node, "its sizes are computed")
        return False
    if sizes is None and "split" not in node.attributes:
        if len({len(p) for p in pieces}) > 1:
            flow.refuse(node, "unequal parts without sizes")
            return False
        for piece in pieces[1:]:
            flow.space.unite(pieces[0], piece)
        return True
    for index, piece in enumerate(pieces):
        place = (
            Place(node=node.name or "", name="split", index=index)
            if sizes is None
            else Place(node=node.name or "", position=1, index=index)
        )
        flow.sizes.append(SizeRule(place=place, ids=piece))
    return True


@rules.register("Slice")
def slice_(node: ir.Node, flow: Flow) -> None:
    """``starts:ends:steps`` on some axes; unit steps on a structured axis are rewritten.

    The new bound is the number of slots kept before the old one.
    Spec: https://onnx.ai/onnx/operators/onnx__Slice.html
    """
    x = node.inputs[0]
    if x is None or not flow.peek(x):
        return
    shape = flow.shape(x)
    starts, ends = ints(node, "starts", 1), ints(node, "ends", 2)
    axes, steps = ints(node, "axes", 3), ints(node, "steps", 4)
    if starts is None or ends is None or (axes is None and len(node.inputs) > 3 and node.inputs[3]):
        flow.refuse(node, "its bounds are computed")
        return
    axes = [a % len(shape) for a in (axes or range(len(starts)))]
    flow.spare(x, [a for a in axes if flow.shape(node.outputs[0])[a] != shape[a]])
    out = flow.peek(x)
    for index, axis in enumerate(axes):
        if (axis,) not in out:
            continue
        ids = out[axis,]
        step = 1 if steps is None else steps[index]
        window = range(len(ids))[slice(starts[index], ends[index], step)]
        if step != 1:
            flow.refuse(node, "a slice with a step over the channels", ids)
            del out[axis,]
            continue
        _rewrite_bounds(node, flow, index, ids, window)
        out[axis,] = ids[window.start : window.stop]
    flow.emit(node.outputs[0], out)


def _rewrite_bounds(node: ir.Node, flow: Flow, index: int, ids: Ids, window: range) -> None:
    name = node.name or ""
    by_attribute = "starts" in node.attributes
    for bound, attr, position in ((window.start, "starts", 1), (window.stop, "ends", 2)):
        place = (
            Place(node=name, name=attr, index=index)
            if by_attribute
            else Place(node=name, position=position, index=index)
        )
        flow.sizes.append(SizeRule(place=place, ids=ids[:bound]))


@rules.register("Pad")
def pad(node: ir.Node, flow: Flow) -> None:
    """Padding along a structured axis makes slots whose number is the pad count.

    This is how option-A shortcuts of residual networks widen: zeros before and after.
    Spec: https://onnx.ai/onnx/operators/onnx__Pad.html
    """
    x = node.inputs[0]
    if x is None or not flow.of(x):
        return
    rank = len(flow.shape(x))
    pads = ints(node, "pads", 1)
    axes = ints(node, "axes", 3) if len(node.inputs) > 3 and node.inputs[3] else list(range(rank))
    if pads is None or axes is None:
        flow.refuse(node, "its pads are computed")
        return
    axes = [a % rank for a in axes]
    out = dict(flow.of(x))
    for axis in sorted(out):
        index = axes.index(axis) if axis in axes else None
        if index is None or (pads[index] == 0 and pads[index + len(axes)] == 0):
            continue
        before, after = pads[index], pads[index + len(axes)]
        if attribute(node, "mode", "constant") != "constant" or before < 0 or after < 0:
            flow.refuse(node, "it mirrors or crops channels", out[axis])
            del out[axis]
            continue
        out[axis] = _padded(node, flow, out[axis], index, before, len(axes), after)
    flow.emit(node.outputs[0], out)


def _padded(node: ir.Node, flow: Flow, ids: Ids, index: int, before: int, stride: int, after: int) -> Ids:
    front, back = flow.space.mint(before), flow.space.mint(after)
    for at, minted in ((index, front), (index + stride, back)):
        place = (
            Place(node=node.name or "", name="pads", index=at)
            if "pads" in node.attributes
            else Place(node=node.name or "", position=1, index=at)
        )
        flow.sizes.append(SizeRule(place=place, ids=minted))
    return np.concatenate([front, ids, back])


@rules.register("Gather")
def gather(node: ir.Node, flow: Flow) -> None:
    """Rows of ``data`` along ``axis``, replaced by the axes of ``indices``.

    A stored table of floats is an embedding: its other axes are widths that it makes.
    Spec: https://onnx.ai/onnx/operators/onnx__Gather.html
    """
    data, indices = node.inputs[0], node.inputs[1]
    if data is None or indices is None:
        return
    axis = attribute(node, "axis", 0) % len(flow.shape(data))
    grown = len(flow.shape(indices)) - 1
    if data.is_initializer() and is_float(data):
        slots = _embedding(node, flow, axis)
    else:
        flow.spare(data, {axis})
        slots = flow.peek(data)
    if (axis,) in slots:
        flow.refuse(node, "it picks channels by index", slots[axis,])
    out = {
        tuple(a + (grown if a > axis else 0) for a in axes): ids
        for axes, ids in slots.items()
        if axes != (axis,)
    }
    flow.emit(node.outputs[0], out)


def _embedding(node: ir.Node, flow: Flow, rows: int) -> dict[tuple[int, ...], Ids]:
    made: dict[tuple[int, ...], Ids] = {}
    for axis, size in enumerate(flow.input_shape(node, 0)):
        if axis != rows and size > 1:
            made[axis,] = flow.space.mint(size)
            flow.bind(node, 0, axis, made[axis,])
            flow.layers.append(Layer(node=node.name or "", coefficient=0.0, factors=(), produces=made[axis,]))
    return made
