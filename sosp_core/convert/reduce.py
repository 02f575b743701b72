"""Reductions over axes, and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sosp_core.convert.operands import ints, required
from sosp_core.convert.table import Compute, Operator, converters

#: (x, axes, keepdim) -> reduced; without axes only what is done to each element.
Reduction = Callable[[Tensor, list[int], bool], Tensor]


def register_reduction(op_type: str, reduce: Reduction) -> None:
    """Enter a reduction.

    Axes are an attribute before opset 18 (13 for ReduceSum), then an optional input. Without
    axes, all are reduced, or, under ``noop_with_empty_axes``, none.
    """

    def build(op: Operator) -> Compute:
        read, keep = ints(op, 1, "axes"), bool(op.attribute("keepdims", 1))
        none_if_empty = bool(op.attribute("noop_with_empty_axes", 0))

        def compute(x: Tensor, axes: Tensor | None = None) -> Tensor:
            chosen = read(axes)
            if not chosen and not none_if_empty:
                chosen = list(range(x.dim()))
            return reduce(x, chosen or [], keep)

        return compute

    build.__name__ = build.__qualname__ = op_type.lower()
    converters.register(op_type)(build)


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype) if axes else x


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not axes:
        return x
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    count = math.prod(x.shape[a] for a in axes)
    return torch.div(_sum(x, axes, keep), count, rounding_mode="trunc")


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(x: Tensor, axes: list[int], keep: bool, largest: bool) -> Tensor:
    """Of nothing, the extreme is the value that any other beats."""
    if not axes:
        return x
    if all(x.shape[a] for a in axes):
        return x.amax(axes, keepdim=keep) if largest else x.amin(axes, keepdim=keep)
    if x.is_floating_point():
        worst: float = -math.inf if largest else math.inf
    elif x.dtype == torch.bool:
        worst = not largest
    else:
        worst = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
    return torch.full_like(_sum(x, axes, keep), worst)


def _max(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, largest=True)


def _min(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, largest=False)


def _l1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _sum_square(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


def _l2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """``vector_norm`` has a subgradient at zero, where that of a root of squares is NaN."""
    if not axes:
        return x.abs()
    if x.is_floating_point():
        norm: Tensor = torch.linalg.vector_norm(x, 2, dim=axes, keepdim=keep)
        return norm
    return _sum_square(x, axes, keep).sqrt().to(x.dtype)


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x, axes, keep).log()


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(x, axes, keepdim=keep) if axes else x


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _max,
    "ReduceMean": _mean,
    "ReduceMin": _min,
    "ReduceProd": _prod,
    "ReduceSum": _sum,
    "ReduceSumSquare": _sum_square,
}

for _op_type, _reduce in REDUCTIONS.items():
    register_reduction(_op_type, _reduce)


def _arg(op: Operator, largest: bool) -> Compute:
    axis, keep = op.attribute("axis", 0), bool(op.attribute("keepdims", 1))
    last = bool(op.attribute("select_last_index", 0))

    def compute(x: Tensor) -> Tensor:
        searched = x.flip(axis) if last else x
        found = searched.argmax(axis, keep) if largest else searched.argmin(axis, keep)
        return x.shape[axis] - 1 - found if last else found

    return compute


@converters.register("ArgMax")
def arg_max(op: Operator) -> Compute:
    """Where the maximum along ``axis`` stands; of equals the first, or the last if asked."""
    return _arg(op, largest=True)


@converters.register("ArgMin")
def arg_min(op: Operator) -> Compute:
    """Where the minimum along ``axis`` stands; of equals the first, or the last if asked."""
    return _arg(op, largest=False)


def _cumulative(op: Operator, running: Callable[..., Tensor], neutral: float) -> Compute:
    """Running fold along the axis that input 1 names; ``exclusive`` leaves out the element itself."""
    read, exclusive, backward = ints(op, 1), op.attribute("exclusive", 0), op.attribute("reverse", 0)

    def compute(x: Tensor, axis: Tensor | None = None) -> Tensor:
        along = required(read(axis), "axis")[0]
        y = x.flip(along) if backward else x
        if exclusive:
            start = torch.full_like(y.narrow(along, 0, 1), neutral)
            y = torch.cat([start, y.narrow(along, 0, y.shape[along] - 1)], along)
        y = running(y, along, dtype=x.dtype)
        return y.flip(along) if backward else y

    return compute


@converters.register("CumSum", since=11)
def cum_sum(op: Operator) -> Compute:
    """``y[i] = Σ_{j ≤ i} x[j]``; from the other end if ``reverse``."""
    return _cumulative(op, torch.cumsum, 0)


@converters.register("CumProd", since=26)
def cum_prod(op: Operator) -> Compute:
    """``y[i] = Π_{j ≤ i} x[j]``; from the other end if ``reverse``."""
    return _cumulative(op, torch.cumprod, 1)
