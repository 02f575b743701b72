"""Where the windows of convolutions and pools lie: strides, dilations, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.table import Operator, Unconvertible

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Window geometry on one input; every list has an entry for each spatial axis.

    Attributes:
        before: Padding before the first element.
        after: Padding behind the last element.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def extents(self) -> list[int]:
        """Elements from the first to the last tap of a window, both included."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def fitted(self, size: Sequence[int], ceil_mode: bool) -> list[int]:
        """Padding behind the last element such that whole windows are exactly those asked for.

        ``ceil_mode`` adds a last, partial window, unless it would start in the padding
        behind the input.
        """
        if not ceil_mode:
            return self.after
        return [
            _fit(*axis)
            for axis in zip(size, self.before, self.after, self.extents, self.strides, strict=True)
        ]

    def pad(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """Zero-pad what torch's symmetric padding argument cannot, and give that argument."""
        if self.before == self.after:
            return x, self.before
        return F.pad(x, torch_pads(self.before, self.after)), [0] * len(self.before)


def _fit(size: int, before: int, after: int, extent: int, stride: int) -> int:
    span = size + before + after - extent
    windows = -(-span // stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return after if windows == span // stride + 1 else (windows - 1) * stride + extent - size - before


def torch_pads(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding as ``F.pad`` wants it: pairs, last axis first."""
    return [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]


def same_padding(size: int, extent: int, stride: int) -> int:
    """Total padding for which a stride-s window gives ceil(size / s) results."""
    return max((-(-size // stride) - 1) * stride + extent - size, 0)


def halves(total: int, upper: bool) -> tuple[int, int]:
    """Padding split in two; an odd element goes behind for ``SAME_UPPER``, else before."""
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def auto_pad_of(op: Operator) -> str:
    """The node's ``auto_pad``, checked."""
    mode = str(op.attribute("auto_pad", "NOTSET"))
    if mode not in AUTO_PADS:
        raise Unconvertible(f"auto_pad {mode!r} is not known")
    return mode


def spatial_rank(op: Operator) -> int | None:
    """Number of spatial axes, if the attributes or a constant kernel tell."""
    weight = op.constants.get(1)
    kernel = op.attribute("kernel_shape")
    rank = len(kernel) if kernel else None if weight is None else weight.ndim - 2
    if rank is not None and rank not in (1, 2, 3):
        raise Unconvertible(f"{rank} spatial axes; torch has 1, 2 and 3")
    return rank


def windows_of(op: Operator) -> Callable[[Sequence[int], Sequence[int]], Windows]:
    """From (spatial sizes, kernel sizes) to the node's windows."""
    mode, strides, dilations = auto_pad_of(op), op.attribute("strides"), op.attribute("dilations")
    explicit = op.attribute("pads") if mode == "NOTSET" else None

    def place(size: Sequence[int], kernel: Sequence[int]) -> Windows:
        rank = len(kernel)
        pads = list(explicit or [0] * 2 * rank)
        bare = Windows(
            kernel=list(kernel),
            strides=list(strides or [1] * rank),
            dilations=list(dilations or [1] * rank),
            before=pads[:rank],
            after=pads[rank:],
        )
        if not mode.startswith("SAME"):
            return bare
        totals = map(same_padding, size, bare.extents, bare.strides)
        pairs = [halves(total, mode == "SAME_UPPER") for total in totals]
        return Windows(
            kernel=bare.kernel,
            strides=bare.strides,
            dilations=bare.dilations,
            before=[b for b, _ in pairs],
            after=[a for _, a in pairs],
        )

    return place
