"""Attention and rotary positions as one operator: whole heads go."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Layer, Place, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules


@rules.register("Attention")
def attention(node: ir.Node, flow: Flow) -> None:
    """``softmax(scale · q k' + mask) v`` for each head, of ``[B, heads, N, size]`` or ``[B, N, heads·size]``.

    A head of keys and values serves ``q_heads / kv_heads`` heads of queries: they go together.
    The size of a head stays, and with it the default scale.
    Spec: https://onnx.ai/onnx/operators/onnx__Attention.html
    """
    q, k, v = node.inputs[:3]
    if q is None or k is None or v is None:
        return
    names = ("q_num_heads", "kv_num_heads", "kv_num_heads")
    counts = [_count(flow, x, attribute(node, name)) for x, name in zip((q, k, v), names, strict=True)]
    heads = [_heads(node, flow, x, n) for x, n in zip((q, k, v), counts, strict=True)]
    cached = any(x is not None for x in node.inputs[4:]) or any(y.uses() for y in node.outputs[1:])
    if cached or any(ids is None for ids in heads):
        flow.refuse(node, "it keeps a cache" if cached else "not all of queries, keys and values can shrink")
        flow.layers.append(Layer(node=node.name or "", coefficient=_work(node, flow) * counts[0], factors=()))
        return
    ids, keys, values = (ids for ids in heads if ids is not None)
    flow.space.unite(keys, values)
    flow.space.unite(ids, np.repeat(keys, len(ids) // len(keys)))
    _align_mask(node, flow, ids)
    if len(flow.shape(q)) == 3:
        for name, some in (("q_num_heads", ids), ("kv_num_heads", keys)):
            flow.sizes.append(SizeRule(place=Place(node=node.name or "", name=name), ids=some))
    flow.layers.append(Layer(node=node.name or "", coefficient=_work(node, flow), factors=(ids,)))
    flow.emit(node.outputs[0], _spread(ids, flow.shape(node.outputs[0])))


def _count(flow: Flow, x: ir.Value, declared: int | None) -> int:
    shape = flow.shape(x)
    return shape[1] if len(shape) == 4 else int(declared or 1)


def _heads(node: ir.Node, flow: Flow, x: ir.Value, count: int) -> Ids | None:
    """The slots of whole heads, if the tensor carries any."""
    rank = len(flow.shape(x))
    axis = 1 if rank == 4 else 2
    flow.spare(x, set(range(rank)) - {axis})
    if others := [ids for a, ids in flow.of(x).items() if a != axis]:
        flow.refuse(node, "structure on an axis of tokens, or within the heads", *others)
    ids = flow.of(x).get(axis)
    return None if ids is None else flow.unite_over(ids.reshape(count, -1), axis=0)


def _spread(ids: Ids, shape: tuple[int, ...]) -> dict[int, Ids]:
    return {1: ids} if len(shape) == 4 else {2: np.repeat(ids, shape[2] // len(ids))}


def _work(node: ir.Node, flow: Flow) -> float:
    """Multiply-accumulates of one head: queries with keys, and weights with values."""
    rows, cols = (flow.input_shape(node, i)[-2] for i in (0, 1))
    sizes = [flow.input_shape(node, i)[-1] for i in (0, 2)]
    if len(flow.input_shape(node, 0)) == 3:
        sizes[0] //= attribute(node, "q_num_heads", 1)
        sizes[1] //= attribute(node, "kv_num_heads", 1)
    return rows * cols * sum(sizes) * flow.input_shape(node, 0)[0] / flow.shapes.batch


def _align_mask(node: ir.Node, flow: Flow, ids: Ids) -> None:
    """A mask, or a bias of relative positions, may differ from head to head."""
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    axis = -1 if mask is None else len(flow.shape(mask)) - 3
    if mask is None or axis < 0 or flow.shape(mask)[axis] == 1:
        return
    flow.spare(mask, set(range(len(flow.shape(mask)))) - {axis})
    own = flow.of(mask).get(axis)
    if own is not None:
        flow.space.unite(own, ids)
    elif mask.is_initializer():
        flow.bind(node, 3, axis, ids)
    else:
        flow.refuse(node, "its mask has the width of the heads and cannot shrink", ids)


@rules.register("RotaryEmbedding")
def rotary_embedding(node: ir.Node, flow: Flow) -> None:
    """Turns pairs within each head by angles that all heads share.

    Spec: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
    """
    x = node.inputs[0]
    if x is None or not flow.peek(x):
        return
    ids = _heads(node, flow, x, _count(flow, x, attribute(node, "num_heads")))
    if ids is None:
        return
    if len(flow.shape(x)) == 3:
        flow.sizes.append(SizeRule(place=Place(node=node.name or "", name="num_heads"), ids=ids))
    flow.emit(node.outputs[0], _spread(ids, flow.shape(node.outputs[0])))
