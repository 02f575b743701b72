"""Joining, cutting and padding along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import Number, ints, required, static_number
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters
from sosp_core.convert.window import torch_pads


@converters.register("Concat", since=4)
def concat(op: Operator) -> Compute:
    """End to end along ``axis``."""
    axis = op.attribute("axis")
    return lambda *parts: torch.cat(parts, dim=axis)


@converters.register("Split", since=2)
def split(op: Operator) -> Compute:
    """Cut along ``axis`` into the sizes given, or into equal parts, of which the last may be smaller."""
    axis, read = op.attribute("axis", 0), ints(op, 1, "split")
    parts = op.attribute("num_outputs", op.n_outputs)

    def compute(x: Tensor, sizes: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        chosen = read(sizes)
        pieces = torch.split(x, chosen if chosen is not None else -(-x.shape[axis] // parts), dim=axis)
        return tuple(pieces) if op.n_outputs > 1 else pieces[0]

    return compute


def _reflected(positions: Tensor, size: int) -> Tensor:
    period = max(2 * (size - 1), 1)
    folded = positions % period
    return torch.where(folded >= size, period - folded, folded)


#: By mode, from positions that may lie outside ``0 … size − 1`` to positions within.
OUTSIDE: dict[str, Callable[[Tensor, int], Tensor]] = {
    "reflect": _reflected,
    "edge": lambda positions, size: positions.clamp(0, size - 1),
    "wrap": lambda positions, size: positions % size,
}


@converters.register("Pad", since=2)
def pad(op: Operator) -> Compute:
    """Extend both ends of axes; a negative pad cuts, and cuts come first.

    Pads are an attribute before opset 11, then an input: all begins, then all ends, of the
    axes given (all, if there is no such input).
    """
    mode = op.attribute("mode", "constant")
    if mode != "constant" and mode not in OUTSIDE:
        raise Unconvertible(f"mode {mode!r} is not known")
    read, read_axes = ints(op, 1, "pads"), ints(op, 3)
    fixed = op.attribute("value", static_number(op, 2))

    def compute(
        x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        before, after = _per_axis(required(read(pads), "pads"), read_axes(axes), x.dim())
        if mode == "constant":
            fill: Number = fixed if fixed is not None else 0 if value is None else value.item()
            return F.pad(x, torch_pads(before, after), value=fill)
        x = F.pad(x, torch_pads([min(b, 0) for b in before], [min(a, 0) for a in after]))
        for axis, (b, a) in enumerate(zip(before, after, strict=True)):
            if b > 0 or a > 0:
                positions = torch.arange(-max(b, 0), x.shape[axis] + max(a, 0), device=x.device)
                x = x.index_select(axis, OUTSIDE[mode](positions, x.shape[axis]))
        return x

    return compute


def _per_axis(pads: list[int], axes: list[int] | None, rank: int) -> tuple[list[int], list[int]]:
    chosen = list(range(rank)) if axes is None else axes
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = pads[i], pads[i + len(chosen)]
    return before, after
