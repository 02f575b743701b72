"""Attention and rotary position embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import dtype_of
from sosp_core.convert.table import Compute, Operator, converters


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which keys a query may see: query i stands at position ``offset + i``, key j at j."""

    causal: bool
    left: int
    right: int

    @classmethod
    def of(cls, op: Operator) -> Mask:
        """Read the attributes; a window of -1 is unbounded."""
        return cls(
            causal=bool(op.attribute("is_causal", 0)),
            left=op.attribute("left_window_size", -1),
            right=op.attribute("right_window_size", -1),
        )

    def allowed(self, scores: Tensor, past: int, lengths: Tensor | None) -> Tensor | None:
        """Where position permits, to broadcast with ``scores [B, H, Q, K]``; None for everywhere."""
        queries, keys = scores.shape[-2:]
        key = torch.arange(keys, device=scores.device)
        offset: Tensor | int = past
        rules = []
        if lengths is not None:
            valid = lengths.reshape(-1, 1, 1, 1)
            offset = offset if past else valid - queries
            rules.append(key < valid)
        query = torch.arange(queries, device=scores.device).unsqueeze(1) + offset
        if self.causal:
            rules.append(key <= query)
        if self.left >= 0:
            rules.append(key >= query - self.left)
        if self.right >= 0:
            rules.append(key <= query + self.right)
        return _all(rules)

    def bias(self, scores: Tensor, mask: Tensor | None, past: int, lengths: Tensor | None) -> Tensor | None:
        """What to add to the scores: the mask given, and -inf where a key must not be seen."""
        rules = [rule for rule in [self.allowed(scores, past, lengths)] if rule is not None]
        bias = scores.new_zeros(())
        if mask is not None:
            short = scores.shape[-1] - mask.shape[-1]
            if mask.dtype == torch.bool:
                rules.append(F.pad(mask, (0, short)))
            else:
                bias = F.pad(mask, (0, short), value=-math.inf)
        seen = _all(rules)
        if seen is not None:
            bias = torch.where(seen, bias, torch.full_like(bias, -math.inf))
        return None if seen is None and mask is None else bias


def _all(rules: list[Tensor]) -> Tensor | None:
    both = None
    for rule in rules:
        both = rule if both is None else both & rule
    return both


def _probabilities(scores: Tensor, bias: Tensor | None, dtype: torch.dtype | None) -> Tensor:
    """Softmax over keys; a query that sees none gets zeros, and no NaN in its gradient."""
    if bias is None:
        return torch.softmax(scores, -1, dtype=dtype).to(scores.dtype)
    blind = (bias == -math.inf).all(-1, keepdim=True)
    safe = torch.where(blind, torch.zeros_like(scores), scores + bias)
    weights = torch.softmax(safe, -1, dtype=dtype).to(scores.dtype)
    return torch.where(blind, torch.zeros_like(weights), weights)


def _heads(x: Tensor, count: int | None) -> Tensor:
    """``[B, S, heads · size]`` as ``[B, heads, S, size]``; four axes are so already."""
    return x if count is None or x.dim() == 4 else x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _behind(past: Tensor | None, x: Tensor) -> Tensor:
    return x if past is None else torch.cat([past, x], 2)


@converters.register("Attention", since=23)
def attention(op: Operator) -> Compute:
    """``softmax(scale · q k' + bias) v`` for every head; scores may be capped before the bias.

    Keys and values with fewer heads serve several query heads each. The other outputs are
    the keys and values, past ones included, and the scores at the stage
    ``qk_matmul_output_mode`` names. Spelled out, because torch's fused kernels
    cannot be differentiated twice.
    """
    mask_rule, cap, stage = (
        Mask.of(op),
        op.attribute("softcap", 0.0),
        op.attribute("qk_matmul_output_mode", 0),
    )
    q_heads, kv_heads = op.attribute("q_num_heads"), op.attribute("kv_num_heads")
    precision, given_scale = op.attribute("softmax_precision"), op.attribute("scale")
    dtype = None if precision is None else dtype_of(precision)

    def compute(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        past_key: Tensor | None = None,
        past_value: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        q, k, v = _heads(query, q_heads), _heads(key, kv_heads), _heads(value, kv_heads)
        past = 0 if past_key is None else past_key.shape[2]
        k, v = _behind(past_key, k), _behind(past_value, v)
        share = q.shape[1] // k.shape[1]
        keys, values = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        root = math.sqrt(given_scale if given_scale is not None else 1 / math.sqrt(q.shape[-1]))
        raw = torch.matmul(q * root, keys.transpose(-1, -2) * root)
        capped = cap * torch.tanh(raw / cap) if cap else raw
        bias = mask_rule.bias(capped, mask, past, lengths)
        weights = _probabilities(capped, bias, dtype)
        y = torch.matmul(weights, values)
        y = y.transpose(1, 2).flatten(2) if query.dim() == 3 else y
        if op.n_outputs == 1:
            return y
        stages = (raw, capped, capped if bias is None else capped + bias, weights)
        return (y, k, v, stages[stage])[: op.n_outputs]

    return compute


@converters.register("RotaryEmbedding", since=23)
def rotary_embedding(op: Operator) -> Compute:
    """Rotate pairs of features by an angle that grows with the position.

    ``(a, b) → (cos · a − sin · b, sin · a + cos · b)``; the pair's members are neighbours if
    ``interleaved``, else half the rotated width apart. Features behind
    ``rotary_embedding_dim`` stay.
    """
    interleaved, heads = op.attribute("interleaved", 0), op.attribute("num_heads", 0)
    width = op.attribute("rotary_embedding_dim", 0)

    def compute(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        split = (
            x.transpose(1, 2) if x.dim() == 4 else x.reshape(*x.shape[:2], heads, -1)
        )  # [B, S, heads, size]
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
        turned, kept = split[..., : width or None], split[..., width or split.shape[-1] :]
        if interleaved:
            a, b = turned[..., 0::2], turned[..., 1::2]
        else:
            a, b = turned.chunk(2, dim=-1)
        pair = (cos * a - sin * b, sin * a + cos * b)
        rotated = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
        y = torch.cat([rotated, kept], -1)
        return y.transpose(1, 2) if x.dim() == 4 else y.flatten(2)

    return compute
