"""Attention and embedding of ONNX Runtime's own domain, as its transformer optimiser writes them.

Spec: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

DOMAIN = "com.microsoft"


def _split(x: Tensor, heads: int) -> Tensor:
    """``[B, S, heads · size]`` as ``[B, heads, S, size]``."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _scores(q: Tensor, k: Tensor, scale: float | None) -> Tensor:
    return torch.matmul(q, k.transpose(-1, -2)) * (scale or 1 / math.sqrt(q.shape[-1]))


def _future(scores: Tensor) -> Tensor:
    """True where a key comes after the query; the last query stands beside the last key."""
    queries, keys = scores.shape[-2:]
    ones = torch.ones(queries, keys, dtype=torch.bool, device=scores.device)
    return ones.triu(keys - queries + 1)


def _padding(mask: Tensor, keys: int) -> Tensor:
    """True where a key is padding: the mask gives lengths ``[B]``, or 0 or 1 for each key."""
    match mask.dim():
        case 1:
            return torch.arange(keys, device=mask.device) >= mask.reshape(-1, 1, 1, 1)
        case 2:
            return mask[:, None, None, :] == 0
        case 3:
            return mask[:, None] == 0
    raise ValueError(f"a mask of {mask.dim()} axes")


def _attend(
    scores: Tensor, v: Tensor, *, hidden: list[Tensor], filter_value: float, bias: Tensor | None
) -> Tensor:
    if bias is not None:
        scores = scores + bias
    for where in hidden:
        scores = scores + where * filter_value
    return torch.matmul(torch.softmax(scores, -1), v)


@converters.register("Attention", domain=DOMAIN, trainable=(1, 2))
def ms_attention(op: Operator) -> Compute:
    """Self-attention with its input projection: ``[q, k, v] = x W + b``, then heads as usual.

    The mask holds lengths ``[B]``, or zeros at padding ``[B, keys]`` or ``[B, queries, keys]``.
    The second output stacks keys and values, past ones included.
    """
    heads, sizes = op.attribute("num_heads"), op.attribute("qkv_hidden_sizes")
    scale, causal = op.attribute("scale"), bool(op.attribute("unidirectional", 0))
    filter_value = op.attribute("mask_filter_value", -10000.0)
    for name in ("do_rotary", "past_present_share_buffer"):
        if op.attribute(name, 0):
            raise Unconvertible(f"{name} is set")

    def compute(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
        past: Tensor | None = None,
        added: Tensor | None = None,
        *_: Tensor | None,
    ) -> Tensor | tuple[Tensor, ...]:
        y = torch.matmul(x, weight)
        y = y if bias is None else y + bias
        q, k, v = (_split(part, heads) for part in torch.split(y, sizes or y.shape[-1] // 3, -1))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        scores = _scores(q, k, scale)
        hidden = [] if mask is None else [_padding(mask, scores.shape[-1])]
        if causal:
            hidden.append(_future(scores))
        out = _joined(_attend(scores, v, hidden=hidden, filter_value=filter_value, bias=added))
        return out if op.n_outputs == 1 else (out, torch.stack([k, v]))

    return compute


@converters.register("MultiHeadAttention", domain=DOMAIN, trainable=(3,))
def multi_head_attention(op: Operator) -> Compute:
    """Attention of projected queries, keys and values; the bias of their projections is added here.

    Keys and values come as ``[B, keys, heads · size]``, or by heads ``[B, heads, keys, size]``.
    """
    heads, scale = op.attribute("num_heads"), op.attribute("scale")
    causal, filter_value = (
        bool(op.attribute("unidirectional", 0)),
        op.attribute("mask_filter_value", -10000.0),
    )
    if op.n_outputs > 3:
        raise Unconvertible("the scores as an output")

    def compute(
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        bias: Tensor | None = None,
        mask: Tensor | None = None,
        added: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        *_: Tensor | None,
    ) -> Tensor | tuple[Tensor, ...]:
        if key is None or value is None or key.dim() == 5:
            raise ValueError("packed queries, keys and values, which ONNX Runtime does not compute on a CPU")
        q, k, v = query, key, value
        if bias is not None:
            width = q.shape[-1]
            q = q + bias[:width]
            k = k if k.dim() == 4 else k + bias[width : 2 * width]
            v = v if v.dim() == 4 else v + bias[2 * width :]
        q, k, v = (part if part.dim() == 4 else _split(part, heads) for part in (q, k, v))
        if past_key is not None and past_value is not None:
            k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        scores = _scores(q, k, scale)
        hidden = [] if mask is None else [_padding(mask, scores.shape[-1])]
        if causal:
            hidden.append(_future(scores))
        out = _joined(_attend(scores, v, hidden=hidden, filter_value=filter_value, bias=added))
        return out if op.n_outputs == 1 else (out, k, v)[: op.n_outputs]

    return compute


def _turned(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """``x [B, S, heads, d]`` rotated pair by pair; angles ``[B, S, d / 2]``, features behind stay."""
    width = 2 * cos.shape[-1]
    moving, still = x[..., :width], x[..., width:]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    a, b = (moving[..., 0::2], moving[..., 1::2]) if interleaved else moving.chunk(2, -1)
    pair = (cos * a - sin * b, sin * a + cos * b)
    rotated = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat([rotated, still], -1)


@converters.register("RotaryEmbedding", domain=DOMAIN)
def ms_rotary_embedding(op: Operator) -> Compute:
    """Rotate pairs of features by an angle that grows with the position.

    Positions are given for each token ``[B, S]``, or as that of the first ``[1]``.
    """
    heads, width = op.attribute("num_heads", 0), op.attribute("rotary_embedding_dim", 0)
    interleaved, scale = bool(op.attribute("interleaved", 0)), op.attribute("scale", 1.0)
    if op.attribute("is_packed_batching", 0) or scale != 1.0:
        raise Unconvertible("packed batches or a scale")

    def compute(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        size = width or 2 * cos.shape[-1]
        split = (
            x.transpose(1, 2) if x.dim() == 4 else x.reshape(*x.shape[:2], heads or x.shape[-1] // size, -1)
        )
        at = positions
        if positions.numel() == 1:
            at = positions.reshape(1, 1) + torch.arange(split.shape[1], device=x.device)
        y = _turned(split, cos[at].expand(len(x), -1, -1), sin[at].expand(len(x), -1, -1), interleaved)
        return y.transpose(1, 2) if x.dim() == 4 else y.flatten(2)

    return compute


@converters.register("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(op: Operator) -> Compute:
    """Causal attention in which several query heads share the keys and values of one.

    ``seqlens_k [B]`` gives the place of each sample's last key; keys behind it are padding. Keys
    and values come behind the past ones. ``do_rotary`` turns queries and keys by their positions.
    """
    heads, kv_heads = op.attribute("num_heads"), op.attribute("kv_num_heads")
    scale, cap = op.attribute("scale"), op.attribute("softcap", 0.0)
    window, rotary = op.attribute("local_window_size", -1), bool(op.attribute("do_rotary", 0))
    interleaved = bool(op.attribute("rotary_interleaved", 0))
    for name in ("smooth_softmax", "kv_cache_bit_width", "qk_output"):
        if op.attribute(name, 0) not in (0, -1):
            raise Unconvertible(f"{name} is set")
    if op.n_inputs > 11:
        raise Unconvertible("sinks of attention")

    def unpacked(query: Tensor, key: Tensor | None, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if key is not None and value is not None:
            return query, key, value
        size = query.shape[-1] // (heads + 2 * kv_heads)
        q, k, v = torch.split(query, [heads * size, kv_heads * size, kv_heads * size], -1)
        return q, k, v

    def compute(
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        past_key: Tensor | None,
        past_value: Tensor | None,
        last: Tensor,
        total: Tensor,
        cos: Tensor | None = None,
        sin: Tensor | None = None,
        positions: Tensor | None = None,
        added: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        q, k, v = unpacked(query, key, value)
        new = q.shape[1]
        past = 0 if past_key is None else past_key.shape[2]
        if past and bool((last + 1 != past + new).any()):
            raise ValueError("past keys of different lengths")
        ends = last.reshape(-1, 1).long() + 1
        steps = torch.arange(new, device=q.device)
        at = past + steps.expand(len(q), -1) if positions is None else positions
        q, k = (part.reshape(*part.shape[:2], n, -1) for part, n in ((q, heads), (k, kv_heads)))
        if rotary and cos is not None and sin is not None:
            q, k = (_turned(part, cos[at], sin[at], interleaved) for part in (q, k))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), _split(v, kv_heads)
        if past_key is not None and past_value is not None:
            k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
        share = heads // kv_heads
        scores = _scores(q, k.repeat_interleave(share, 1), scale)
        scores = cap * torch.tanh(scores / cap) if cap else scores
        scores = scores if added is None else scores + added
        keys = torch.arange(k.shape[2], device=q.device)
        places = past + steps.reshape(-1, 1)
        hidden = (keys > places) | (keys >= ends.reshape(-1, 1, 1, 1))
        if window > 0:
            hidden = hidden | (keys <= places - window)
        # A query of the padding sees itself, so that its softmax stays finite; nobody reads it.
        hidden = hidden & (keys != places)
        weights = torch.softmax(scores.masked_fill(hidden, -math.inf), -1)
        out = _joined(torch.matmul(weights, v.repeat_interleave(share, 1)))
        return out if op.n_outputs == 1 else (out, k, v)[: op.n_outputs]

    return compute


@converters.register("EmbedLayerNormalization", domain=DOMAIN, trainable=(2, 3, 4, 5, 6))
def embed_layer_normalization(op: Operator) -> Compute:
    """Layer normalisation of the sum of word, position and segment embeddings.

    The second output counts the ones of the mask, the third is that sum.
    """
    epsilon = op.attribute("epsilon", 1e-12)

    def compute(
        words: Tensor,
        segments: Tensor | None,
        word_table: Tensor,
        place_table: Tensor,
        segment_table: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        mask: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        at = torch.arange(words.shape[1], device=words.device) if places is None else places.long()
        total = word_table[words.long()] + place_table[at]
        if segments is not None and segment_table is not None:
            total = total + segment_table[segments.long()]
        y = F.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
        if op.n_outputs == 1:
            return y
        count = words.new_zeros(len(words)) if mask is None else mask.sum(1)
        return (y, count.to(torch.int32), total)[: op.n_outputs]

    return compute
