"""Convolutions and matrix products: they sum over one structured axis and make another."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Layer, Place, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import MICROSOFT, rules


@rules.register("Conv")
def conv(node: ir.Node, flow: Flow) -> None:
    """``y[o] = Σ_i W[o, i] * x[i] + b[o]``; grouped: i runs over the channels of o's group.

    Spec: https://onnx.ai/onnx/operators/onnx__Conv.html
    """
    _convolution(node, flow, out_axis=0, in_axis=1)


@rules.register("ConvTranspose")
def conv_transpose(node: ir.Node, flow: Flow) -> None:
    """As Conv, with the weight laid out ``[in, out / group, ...]``.

    Spec: https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
    """
    _convolution(node, flow, out_axis=1, in_axis=0)


@rules.register("FusedConv", domain=MICROSOFT)
def fused_conv(node: ir.Node, flow: Flow) -> None:
    """``activation(conv(x, w, b) + z)``: the channels of z are those that the convolution makes."""
    conv(node, flow)
    z = node.inputs[3] if len(node.inputs) > 3 else None
    if z is None:
        return
    flow.spare(z, set(range(len(flow.shape(z)))) - {1})
    made, added = flow.of(node.outputs[0]).get(1), flow.of(z).get(1)
    if made is not None and added is not None:
        flow.space.unite(made, added)
    elif made is not None or added is not None:
        reason = f"combined with {z.name!r}, whose width cannot change"
        flow.refuse(node, reason, *(ids for ids in (made, added) if ids is not None))


def _convolution(node: ir.Node, flow: Flow, *, out_axis: int, in_axis: int) -> None:
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None:
        return
    if not weight.is_initializer():
        flow.refuse(node, "its weight is computed, not stored")
    flow.spare(x, range(2, len(flow.shape(x))))
    if spatial := [ids for axis, ids in flow.of(x).items() if axis != 1]:
        flow.refuse(node, "structure on a spatial axis", *spatial)
    group, transposed = attribute(node, "group", 1), node.op_type == "ConvTranspose"
    w_shape, y_shape = flow.shape(weight), flow.shape(node.outputs[0])
    # Positions at which a weight acts: output pixels for Conv, input pixels for ConvTranspose.
    pixels = prod((flow.shape(x) if transposed else y_shape)[2:])
    if not weight.is_initializer():
        _uncut(node, flow, pixels * prod(w_shape))
    elif group == 1:
        _dense(node, flow, out_axis, in_axis, pixels * prod(w_shape[2:]))
    elif group == flow.shape(x)[1] and w_shape[1] == 1:
        _depthwise(node, flow, 0, pixels * prod(w_shape[2:]))
    elif not transposed:
        _grouped(node, flow, group, pixels * prod(w_shape[2:]))
    else:
        flow.refuse(node, "a grouped transposed convolution")
        _uncut(node, flow, pixels * prod(w_shape))


def _uncut(node: ir.Node, flow: Flow, work: float) -> None:
    """Count the work of a node whose widths all stay."""
    flow.layers.append(Layer(node=node.name or "", coefficient=float(work), factors=()))


def _dense(node: ir.Node, flow: Flow, out_axis: int, in_axis: int, work: int) -> None:
    ids_in = flow.of(node.inputs[0]).get(1)
    w_shape = flow.input_shape(node, 1)
    ids_out = flow.space.mint(w_shape[out_axis])
    flow.bind(node, 1, out_axis, ids_out)
    _bind_bias(node, flow, ids_out)
    factors: tuple[Ids, ...] = (ids_out,)
    coefficient = float(work)
    if ids_in is None:
        coefficient *= w_shape[in_axis]
    else:
        flow.bind(node, 1, in_axis, ids_in)
        flow.read(node, 0, 1, against=(1, in_axis))
        factors += (ids_in,)
    flow.layers.append(
        Layer(node=node.name or "", coefficient=coefficient, factors=factors, produces=ids_out)
    )
    flow.emit(node.outputs[0], {1: ids_out})


def _depthwise(node: ir.Node, flow: Flow, weight_axis: int, work: int) -> None:
    """Every channel has its own filters: slots pass through, ``multiplier`` outputs for each."""
    ids_in = flow.of(node.inputs[0]).get(1)
    n_out = flow.shape(node.outputs[0])[1]
    if ids_in is None:
        _uncut(node, flow, work * n_out)
        return
    ids = np.repeat(ids_in, n_out // len(ids_in))
    if node.op_type == "ConvTranspose" and len(ids) != len(ids_in):
        flow.refuse(node, "a grouped transposed convolution")
        _uncut(node, flow, work * n_out)
        return
    flow.bind(node, 1, weight_axis, ids)
    _bind_bias(node, flow, ids)
    flow.sizes.append(SizeRule(place=Place(node=node.name or "", name="group"), ids=ids_in))
    flow.layers.append(Layer(node=node.name or "", coefficient=float(work), factors=(ids,)))
    flow.emit(node.outputs[0], {1: ids})


def _grouped(node: ir.Node, flow: Flow, group: int, work: int) -> None:
    """Groups stay equal: position i leaves every group or none, on both sides."""
    w_shape = flow.input_shape(node, 1)
    ids_out = flow.space.mint(w_shape[0])
    flow.unite_over(ids_out.reshape(group, -1), axis=1)
    flow.bind(node, 1, 0, ids_out)
    _bind_bias(node, flow, ids_out)
    factors: tuple[Ids, ...] = (ids_out,)
    coefficient = float(work)
    ids_in = flow.of(node.inputs[0]).get(1)
    if ids_in is None:
        coefficient *= w_shape[1]
    else:
        in_group = flow.unite_over(ids_in.reshape(group, -1), axis=1)
        flow.bind(node, 1, 1, in_group)
        flow.read(node, 0, 1, against=(1, 1))
        factors += (in_group,)
    flow.layers.append(
        Layer(node=node.name or "", coefficient=coefficient, factors=factors, produces=ids_out)
    )
    flow.emit(node.outputs[0], {1: ids_out})


def _bind_bias(node: ir.Node, flow: Flow, ids: Ids) -> None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return
    if node.inputs[2].is_initializer():
        flow.bind(node, 2, 0, ids)
    else:
        flow.refuse(node, "its bias is computed, not stored", ids)


@rules.register("FusedGemm", domain=MICROSOFT)
@rules.register("Gemm")
def gemm(node: ir.Node, flow: Flow) -> None:
    """``y = α·A'·B' + β·C`` with A' and B' transposed on demand; B holds the weights.

    Spec: https://onnx.ai/onnx/operators/onnx__Gemm.html
    """
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None:
        return
    in_axis, out_axis = (1, 0) if attribute(node, "transB", 0) else (0, 1)
    summed, kept = (0, 1) if attribute(node, "transA", 0) else (1, 0)
    rows = flow.shape(a)[kept] / flow.shapes.batch
    if not b.is_initializer() or a.is_initializer():
        flow.refuse(node, "its weight is computed, not stored")
        _uncut(node, flow, rows * prod(flow.shape(b)))
        return
    if kept in flow.of(a):
        flow.refuse(node, "structure on the rows of a matrix product", flow.of(a)[kept])
    ids_out = _contract(node, flow, x_axis=summed, in_axis=in_axis, out_axis=out_axis, rows=rows)
    c = node.inputs[2] if len(node.inputs) > 2 else None
    if c is not None and flow.shape(c) and flow.shape(c)[-1] != 1:
        if c.is_initializer():
            flow.bind(node, 2, len(flow.shape(c)) - 1, ids_out)
        else:
            flow.refuse(node, "its bias is computed, not stored", ids_out, *flow.of(c).values())
    flow.emit(node.outputs[0], {1: ids_out})


@rules.register("MatMul")
def matmul(node: ir.Node, flow: Flow) -> None:
    """``y[..., m, n] = Σ_k A[..., m, k] B[..., k, n]``, batch axes broadcast.

    A stored 2-D factor is a weight. Two computed factors share the structure of the summed
    axis; their other axes pass through.
    Spec: https://onnx.ai/onnx/operators/onnx__MatMul.html
    """
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None:
        return
    if _is_matrix(flow, b) and not a.is_initializer():
        _times_weight(node, flow, a, in_axis=0, out_axis=1)
    elif a.is_initializer() or b.is_initializer():
        flow.refuse(node, "a stored factor that is not a plain weight matrix")
        _uncut(node, flow, prod(flow.shape(node.outputs[0])) / flow.shapes.batch * flow.shape(a)[-1])
    else:
        _product(node, flow, a, b)


@rules.register("FusedMatMul", domain=MICROSOFT)
def fused_matmul(node: ir.Node, flow: Flow) -> None:
    """MatMul, scaled, of factors transposed on demand; the second may be a transposed weight."""
    a, b = node.inputs[0], node.inputs[1]
    if a is None or b is None:
        return
    flip_a, flip_b = (bool(attribute(node, name, 0)) for name in ("transA", "transB"))
    flip_batch = any(attribute(node, name, 0) for name in ("transBatchA", "transBatchB"))
    if not (flip_a or flip_b or flip_batch):
        matmul(node, flow)
    elif not (flip_a or flip_batch) and _is_matrix(flow, b) and not a.is_initializer():
        _times_weight(node, flow, a, in_axis=1, out_axis=0)
    elif not (flip_batch or a.is_initializer() or b.is_initializer()):
        _product(node, flow, a, b, flip_a=flip_a, flip_b=flip_b)
    else:
        flow.refuse(node, "a product of transposed factors")
        depth = flow.shape(a)[-2 if flip_a else -1]
        _uncut(node, flow, prod(flow.shape(node.outputs[0])) / flow.shapes.batch * depth)


def _is_matrix(flow: Flow, value: ir.Value) -> bool:
    return value.is_initializer() and len(flow.shape(value)) == 2


def _times_weight(node: ir.Node, flow: Flow, a: ir.Value, *, in_axis: int, out_axis: int) -> None:
    """Contract the last axis of ``a`` with the weight at input 1; its other axes pass."""
    last = len(flow.shape(a)) - 1
    passed = {axis: ids for axis, ids in flow.of(a).items() if axis != last}
    rows = prod(n for axis, n in enumerate(flow.shape(a)[:-1]) if axis not in passed) / flow.shapes.batch
    ids_out = _contract(
        node,
        flow,
        x_axis=last,
        in_axis=in_axis,
        out_axis=out_axis,
        rows=rows,
        passed=tuple(passed.values()),
    )
    flow.emit(node.outputs[0], {**passed, len(flow.shape(node.outputs[0])) - 1: ids_out})


def _contract(
    node: ir.Node,
    flow: Flow,
    *,
    x_axis: int,
    in_axis: int,
    out_axis: int,
    rows: float,
    passed: tuple[Ids, ...] = (),
) -> Ids:
    """Sum ``x_axis`` of input 0 against the 2-D weight at input 1; the slots it makes.

    ``rows`` vectors are multiplied for each sample and each slot of ``passed``.
    """
    shape = flow.input_shape(node, 1)
    ids_out = flow.space.mint(shape[out_axis])
    flow.bind(node, 1, out_axis, ids_out)
    ids_in = flow.of(node.inputs[0]).get(x_axis)
    factors: tuple[Ids, ...] = (ids_out, *passed)
    coefficient = float(rows)
    if ids_in is None:
        coefficient *= shape[in_axis]
    else:
        flow.bind(node, 1, in_axis, ids_in)
        flow.read(node, 0, x_axis, against=(1, in_axis))
        factors += (ids_in,)
    flow.layers.append(
        Layer(node=node.name or "", coefficient=coefficient, factors=factors, produces=ids_out)
    )
    return ids_out


def _product(
    node: ir.Node, flow: Flow, a: ir.Value, b: ir.Value, *, flip_a: bool = False, flip_b: bool = False
) -> None:
    """Two computed factors: unite the summed axes, align the batch axes, pass the rest.

    A factor is *flipped* if its last two axes are swapped before it is multiplied.
    """
    y_shape = flow.shape(node.outputs[0])
    rank_a, rank_b, rank_y = len(flow.shape(a)), len(flow.shape(b)), len(y_shape)
    if rank_a < 2 or rank_b < 2:
        flow.refuse(node, "a product with a vector")
        return
    # What is joint with a batch axis goes there: whole heads, not a dimension of every head.
    flow.spare(a, {rank_a - 2, rank_a - 1})
    flow.spare(b, {rank_b - 2, rank_b - 1})
    row, across = (rank_a - 1, rank_a - 2) if flip_a else (rank_a - 2, rank_a - 1)
    down, column = (rank_b - 1, rank_b - 2) if flip_b else (rank_b - 2, rank_b - 1)
    summed_a, summed_b = flow.of(a).get(across), flow.of(b).get(down)
    if (summed_a is None) != (summed_b is None):
        for ids in (summed_a, summed_b):
            if ids is not None:
                flow.refuse(node, "the other factor has no structure on the summed axis", ids)
    elif summed_a is not None and summed_b is not None:
        flow.space.unite(summed_a, summed_b)
        flow.read(node, 0, across)
        flow.read(node, 1, down)
    out: dict[int, Ids] = {}
    kept = {row: rank_y - 2}, {column: rank_y - 1}
    for value, rank, summed, moved in ((a, rank_a, across, kept[0]), (b, rank_b, down, kept[1])):
        for axis, ids in flow.of(value).items():
            if axis == summed:
                continue
            y_axis = moved.get(axis, rank_y - rank + axis)
            if len(ids) != y_shape[y_axis]:
                flow.refuse(node, "structure on a broadcast axis", ids)
            elif y_axis in out:
                flow.space.unite(out[y_axis], ids)
            else:
                out[y_axis] = ids
    _check_batch_axes(node, flow, out, (a, b))
    depth = flow.shape(a)[across]
    free = [ids for ids in (*out.values(), summed_a) if ids is not None]
    coefficient = prod(y_shape) / flow.shapes.batch * depth / prod(len(ids) for ids in free)
    flow.layers.append(Layer(node=node.name or "", coefficient=coefficient, factors=tuple(free)))
    flow.emit(node.outputs[0], out)


def _check_batch_axes(
    node: ir.Node, flow: Flow, out: dict[int, Ids], factors: tuple[ir.Value, ir.Value]
) -> None:
    """A structured batch axis needs the same structure, or size one, on the other factor."""
    rank_y = len(flow.shape(node.outputs[0]))
    for y_axis, ids in out.items():
        if y_axis >= rank_y - 2:
            continue
        for value in factors:
            axis = len(flow.shape(value)) - rank_y + y_axis
            if axis >= 0 and flow.shape(value)[axis] != 1 and axis not in flow.of(value):
                flow.refuse(node, "the other factor has no structure on a shared axis", ids)
