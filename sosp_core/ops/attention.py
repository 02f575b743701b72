"""Attention and rotary positions as one operator, ONNX's own and ONNX Runtime's: whole heads go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Layer, Place, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import MICROSOFT, rules

UNEVEN = "not all of queries, keys and values can shrink"


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Where an operator has what attention needs besides queries, keys and values (inputs 0 to 2).

    Attributes:
        counts: Attributes that count the heads of queries, and of keys and values.
        added: Input that is added to the scores, of every head or of each.
        past: Inputs that hold what earlier calls left behind.
        bias: Input with one bias for each feature of queries, keys and values, in this order.
    """

    counts: tuple[str, str]
    added: int
    past: tuple[int, ...]
    bias: int | None = None


ONNX = Wiring(counts=("q_num_heads", "kv_num_heads"), added=3, past=(4, 5))
MULTI_HEAD = Wiring(counts=("num_heads", "num_heads"), added=5, past=(6, 7, 8, 9), bias=3)
GROUPED = Wiring(counts=("num_heads", "kv_num_heads"), added=10, past=(3, 4))


@rules.register("Attention")
def attention(node: ir.Node, flow: Flow) -> None:
    """``softmax(scale · q k' + mask) v`` for each head, of ``[B, heads, N, size]`` or ``[B, N, heads·size]``.

    A head of keys and values serves ``q_heads / kv_heads`` heads of queries: they go together.
    The size of a head stays, and with it the default scale.
    Spec: https://onnx.ai/onnx/operators/onnx__Attention.html
    """
    _attend(node, flow, ONNX)


@rules.register("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: ir.Node, flow: Flow) -> None:
    """The same, with the biases of the three projections added on the way in.

    Spec: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    _attend(node, flow, MULTI_HEAD)


@rules.register("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(node: ir.Node, flow: Flow) -> None:
    """The same, causal; queries, keys and values may come side by side in one tensor.

    Spec: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    _attend(node, flow, GROUPED)


@rules.register("Attention", domain=MICROSOFT)
def projected_attention(node: ir.Node, flow: Flow) -> None:
    """The same behind its own projection ``x W + b``: a head is a block of columns in each third of W.

    Spec: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None:
        return
    name, count = node.name or "", attribute(node, "num_heads", 1)
    sizes = attribute(node, "qkv_hidden_sizes") or [flow.shape(weight)[1] // 3] * 3
    _spare_tokens(node, flow, x, 2)
    ids, ids_in = flow.space.mint(count), flow.of(x).get(2)
    columns = np.concatenate([np.repeat(ids, size // count) for size in sizes])
    flow.bind(node, 1, 1, columns)
    factors: tuple[Ids, ...] = (ids,)
    tokens = flow.shape(x)[0] * flow.shape(x)[1] / flow.shapes.batch
    work = tokens * sum(sizes) / count * (flow.shape(x)[2] if ids_in is None else 1)
    if ids_in is not None:
        flow.bind(node, 1, 0, ids_in)
        flow.read(node, 0, 2, against=(1, 0))
        factors += (ids_in,)
    if (bias := _input(node, 2)) is not None:
        flow.bind(node, 2, 0, columns)
        _require_stored(node, flow, bias, ids)
    _require_stored(node, flow, weight, *factors)
    past = _input(node, 4)
    if past is not None or _keeps(node):
        flow.refuse(node, "it keeps a cache", ids)
    _align_added(node, flow, 5, ids)
    flow.sizes.append(SizeRule(place=Place(node=name, name="num_heads"), ids=ids))
    for index, size in enumerate(attribute(node, "qkv_hidden_sizes") or ()):
        place = Place(node=name, name="qkv_hidden_sizes", index=index)
        flow.sizes.append(SizeRule(place=place, ids=np.repeat(ids, size // count)))
    keys = flow.shape(x)[1] + (0 if past is None else flow.shape(past)[3])
    flow.layers.append(Layer(node=name, coefficient=work, factors=factors, produces=ids))
    work = tokens * keys * (sizes[0] + sizes[2]) / count
    flow.layers.append(Layer(node=name, coefficient=work, factors=(ids,)))
    flow.emit(node.outputs[0], {2: np.repeat(ids, sizes[2] // count)})


def _attend(node: ir.Node, flow: Flow, wiring: Wiring) -> None:
    q_count, kv_count = (_count(node, flow, position, name) for position, name in enumerate(wiring.counts))
    counts = (q_count, kv_count, kv_count)
    heads = _operands(node, flow, counts)
    work = _work(node, flow, counts)
    cached = any(_input(node, position) is not None for position in wiring.past) or _keeps(node)
    if cached or any(ids is None for ids in heads):
        flow.refuse(node, "it keeps a cache" if cached else UNEVEN)
        flow.layers.append(Layer(node=node.name or "", coefficient=work * q_count, factors=()))
        return
    ids, keys, values = (ids for ids in heads if ids is not None)
    flow.space.unite(keys, values)
    flow.space.unite(ids, np.repeat(keys, len(ids) // len(keys)))
    _align_added(node, flow, wiring.added, ids)
    if wiring.bias is not None and (bias := _input(node, wiring.bias)) is not None:
        _bind_bias(node, flow, wiring.bias, bias, (ids, keys, values))
    if len(flow.input_shape(node, 0)) == 3:
        for name, some in dict(zip(wiring.counts, (ids, keys), strict=True)).items():
            flow.sizes.append(SizeRule(place=Place(node=node.name or "", name=name), ids=some))
    flow.layers.append(Layer(node=node.name or "", coefficient=work, factors=(ids,)))
    flow.emit(node.outputs[0], _spread(ids, flow.shape(node.outputs[0])))


def _input(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None


def _keeps(node: ir.Node) -> bool:
    """Whether someone reads more than the result: the keys and values of all heads, or their scores."""
    return any(y.uses() or y.is_graph_output() for y in node.outputs[1:])


def _count(node: ir.Node, flow: Flow, position: int, name: str) -> int:
    shape = () if _input(node, position) is None else flow.input_shape(node, position)
    return shape[1] if len(shape) == 4 else int(attribute(node, name) or 1)


def _operands(node: ir.Node, flow: Flow, counts: Sequence[int]) -> list[Ids | None]:
    """The slots of the heads of queries, keys and values, where the tensors carry any."""
    q, k, v = node.inputs[0], _input(node, 1), _input(node, 2)
    if q is None or len(flow.shape(q)) > 4:
        return [None]
    if k is not None and v is not None:
        return [_heads(node, flow, x, n) for x, n in zip((q, k, v), counts, strict=True)]
    every = _heads(node, flow, q, sum(counts))
    return [None] if every is None else list(np.split(every, np.cumsum(counts)[:2]))


def _heads(node: ir.Node, flow: Flow, x: ir.Value, count: int) -> Ids | None:
    """The slots of whole heads, if the tensor carries any."""
    axis = 1 if len(flow.shape(x)) == 4 else 2
    _spare_tokens(node, flow, x, axis)
    ids = flow.of(x).get(axis)
    return None if ids is None else flow.unite_over(ids.reshape(count, -1), axis=0)


def _spare_tokens(node: ir.Node, flow: Flow, x: ir.Value, axis: int) -> None:
    """Structure belongs on ``axis``, where the heads are."""
    flow.spare(x, set(range(len(flow.shape(x)))) - {axis})
    if others := [ids for a, ids in flow.of(x).items() if a != axis]:
        flow.refuse(node, "structure on an axis of tokens, or within the heads", *others)


def _spread(ids: Ids, shape: tuple[int, ...]) -> dict[int, Ids]:
    return {1: ids} if len(shape) == 4 else {2: np.repeat(ids, shape[2] // len(ids))}


def _work(node: ir.Node, flow: Flow, counts: Sequence[int]) -> float:
    """Multiply-accumulates of one head of queries: with keys, and of its weights with values."""
    q = flow.input_shape(node, 0)
    packed = _input(node, 1) is None
    k, v = (q, q) if packed else (flow.input_shape(node, i) for i in (1, 2))
    if len(q) > 4:
        return 0.0  # a form that ONNX Runtime has for GPUs only; it is not converted
    sizes = [
        shape[-1] if len(shape) == 4 else shape[-1] // (sum(counts) if packed else count)
        for shape, count in zip((q, v), (counts[0], counts[2]), strict=True)
    ]
    return q[-2] * k[-2] * sum(sizes) * q[0] / flow.shapes.batch


def _align_added(node: ir.Node, flow: Flow, position: int, ids: Ids) -> None:
    """A mask, or a bias of relative positions, may differ from head to head."""
    mask = _input(node, position)
    axis = -1 if mask is None else len(flow.shape(mask)) - 3
    if mask is None or axis < 0 or flow.shape(mask)[axis] == 1:
        return
    flow.spare(mask, set(range(len(flow.shape(mask)))) - {axis})
    own = flow.of(mask).get(axis)
    if own is not None:
        flow.space.unite(own, ids)
    elif mask.is_initializer():
        flow.bind(node, position, axis, ids)
    else:
        flow.refuse(node, "its mask has the width of the heads and cannot shrink", ids)


def _bind_bias(node: ir.Node, flow: Flow, position: int, bias: ir.Value, heads: tuple[Ids, Ids, Ids]) -> None:
    sizes = [flow.input_shape(node, i)[-1] for i in range(3)]
    widths = [
        size if len(flow.input_shape(node, i)) == 4 else size // len(ids)
        for i, (size, ids) in enumerate(zip(sizes, heads, strict=True))
    ]
    every = np.concatenate([np.repeat(ids, width) for ids, width in zip(heads, widths, strict=True)])
    flow.bind(node, position, 0, every)
    _require_stored(node, flow, bias, heads[0])


def _require_stored(node: ir.Node, flow: Flow, value: ir.Value, *ids: Ids) -> None:
    if not value.is_initializer():
        flow.refuse(node, "its projection is computed, not stored", *ids)


@rules.register("RotaryEmbedding")
def rotary_embedding(node: ir.Node, flow: Flow) -> None:
    """Turns pairs within each head by angles that all heads share.

    Spec: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
    """
    _rotate(node, flow, attribute(node, "num_heads", 0))


@rules.register("RotaryEmbedding", domain=MICROSOFT)
def ms_rotary_embedding(node: ir.Node, flow: Flow) -> None:
    """The same; without a number of heads, they are as wide as the angles say.

    Spec: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """
    angles = flow.input_shape(node, 2)
    _rotate(node, flow, attribute(node, "num_heads", 0), width=2 * angles[-1])


def _rotate(node: ir.Node, flow: Flow, declared: int, width: int | None = None) -> None:
    x = node.inputs[0]
    if x is None or not flow.peek(x):
        return
    shape = flow.shape(x)
    count = shape[1] if len(shape) == 4 else declared or (shape[2] // width if width else 1)
    ids = _heads(node, flow, x, count)
    if ids is None:
        return
    if len(shape) == 3 and declared:
        flow.sizes.append(SizeRule(place=Place(node=node.name or "", name="num_heads"), ids=ids))
    flow.emit(node.outputs[0], _spread(ids, flow.shape(node.outputs[0])))
