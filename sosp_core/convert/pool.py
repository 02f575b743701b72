"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.conv import CONV
from sosp_core.convert.operands import ints
from sosp_core.convert.table import Compute, Operator, converters
from sosp_core.convert.window import Windows, spatial_rank, torch_pads, windows_of

MAX_POOL: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: F.max_pool1d_with_indices,
    2: F.max_pool2d_with_indices,
    3: F.max_pool3d_with_indices,
}
AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@converters.register("MaxPool", since=1)
def max_pool(op: Operator) -> Compute:
    """The maximum over each window; padding never wins.

    The optional second output is the place of each maximum in the whole, flattened input;
    ``storage_order`` 1 counts the spatial axes with the first running fastest.
    """
    rank, place, kernel = spatial_rank(op), windows_of(op), op.attribute("kernel_shape")
    ceil_mode, storage_order = bool(op.attribute("ceil_mode", 0)), op.attribute("storage_order", 0)
    pool = MAX_POOL[rank or 0]

    def compute(x: Tensor) -> Tensor | tuple[Tensor, ...]:
        size = x.shape[2:]
        windows = place(size, kernel)
        before, after = windows.before, windows.fitted(size, ceil_mode)
        if before == after and all(2 * b <= k for b, k in zip(before, kernel, strict=True)):
            y, index = pool(x, kernel, windows.strides, before, windows.dilations)
            padded, shift = size, [0] * len(kernel)
        else:
            lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
            extended = F.pad(x, torch_pads(before, after), value=lowest)
            y, index = pool(extended, kernel, windows.strides, 0, windows.dilations)
            padded, shift = extended.shape[2:], before
        if op.n_outputs == 1:
            return y
        return y, _global_index(index, padded, size, shift, storage_order == 1)

    return compute


def _global_index(
    index: Tensor, padded: Sequence[int], size: Sequence[int], shift: Sequence[int], first_fastest: bool
) -> Tensor:
    """Places in a padded plane, as places in the whole input ``[N, C, *size]``."""
    coordinates = []
    for length, offset in zip(reversed(padded), reversed(shift), strict=True):
        coordinates.append(index % length - offset)
        index = index // length
    plane = torch.zeros_like(index)
    order = list(zip(reversed(coordinates), size, strict=True))
    for coordinate, length in reversed(order) if first_fastest else order:
        plane = plane * length + coordinate
    n, c = index.shape[:2]
    planes = torch.arange(n * c, device=index.device).reshape(n, c, *[1] * len(size))
    return planes * math.prod(size) + plane


@converters.register("AveragePool", since=1)
def average_pool(op: Operator) -> Compute:
    """The mean over each window, of elements that count.

    Padding counts if ``count_include_pad`` says so; what ``ceil_mode`` adds beyond it never does.
    """
    rank, place, kernel = spatial_rank(op), windows_of(op), op.attribute("kernel_shape")
    ceil_mode, count_pads = bool(op.attribute("ceil_mode", 0)), bool(op.attribute("count_include_pad", 0))
    pool = AVG_POOL[rank or 0]

    def compute(x: Tensor) -> Tensor:
        size = x.shape[2:]
        windows = place(size, kernel)
        before, after = windows.before, windows.fitted(size, ceil_mode)
        plain = before == after == windows.after and max(windows.dilations) == 1
        if plain and all(2 * b <= k for b, k in zip(before, kernel, strict=True)):
            return pool(x, kernel, windows.strides, before, False, count_pads)
        total = _window_means(F.pad(x, torch_pads(before, after)), windows)
        return total / _counted_share(x, windows, after, count_pads)

    return compute


def _window_means(x: Tensor, windows: Windows) -> Tensor:
    """Means over windows that lie within x entirely."""
    rank = len(windows.kernel)
    if max(windows.dilations) == 1:
        return AVG_POOL[rank](x, windows.kernel, windows.strides)
    share = x.new_full((1, 1, *windows.kernel), 1 / math.prod(windows.kernel))
    planes = x.reshape(-1, 1, *x.shape[2:])
    means = CONV[rank](planes, share, None, windows.strides, 0, windows.dilations)
    return means.reshape(*x.shape[:2], *means.shape[2:])


def _counted_share(x: Tensor, windows: Windows, after: list[int], count_pads: bool) -> Tensor:
    """By window, the share of its elements that count."""
    counts = x.new_ones((1, 1, *x.shape[2:]))
    if count_pads:
        counts = F.pad(counts, torch_pads(windows.before, windows.after), value=1.0)
        beyond = [a - w for a, w in zip(after, windows.after, strict=True)]
        counts = F.pad(counts, torch_pads([0] * len(beyond), beyond))
    else:
        counts = F.pad(counts, torch_pads(windows.before, after))
    return _window_means(counts, windows)


@converters.register("LpPool", since=2)
def lp_pool(op: Operator) -> Compute:
    """``(Σ |x|^p)^(1/p)`` over each window; padding is zero."""
    spatial_rank(op)
    place, kernel, p = windows_of(op), op.attribute("kernel_shape"), op.attribute("p", 2)
    ceil_mode = bool(op.attribute("ceil_mode", 0))

    def compute(x: Tensor) -> Tensor:
        windows = place(x.shape[2:], kernel)
        after = windows.fitted(x.shape[2:], ceil_mode)
        powers = F.pad(torch.pow(x.abs(), p), torch_pads(windows.before, after))
        return torch.pow(_window_means(powers, windows) * math.prod(kernel), 1 / p)

    return compute


@converters.register("GlobalAveragePool")
def global_average_pool(op: Operator) -> Compute:
    """The mean over all spatial axes."""
    return lambda x: x.mean(list(range(2, x.dim())), keepdim=True)


@converters.register("GlobalMaxPool")
def global_max_pool(op: Operator) -> Compute:
    """The maximum over all spatial axes."""
    return lambda x: x.amax(list(range(2, x.dim())), keepdim=True)


@converters.register("GlobalLpPool", since=2)
def global_lp_pool(op: Operator) -> Compute:
    """``(Σ |x|^p)^(1/p)`` over all spatial axes."""
    p = op.attribute("p", 2)
    return lambda x: torch.linalg.vector_norm(x, p, dim=list(range(2, x.dim())), keepdim=True)


@converters.register("MaxUnpool", since=9)
def max_unpool(op: Operator) -> Compute:
    """Elements back at the places that MaxPool's second output names, zeros elsewhere."""
    spatial_rank(op)
    kernel, strides, pads = (op.attribute(k) for k in ("kernel_shape", "strides", "pads"))
    read = ints(op, 2)

    def compute(x: Tensor, index: Tensor, shape: Tensor | None = None) -> Tensor:
        rank, target = len(kernel), read(shape)
        stride, pad = strides or [1] * rank, pads or [0] * 2 * rank
        natural = [
            (n - 1) * s + k - b - a
            for n, s, k, b, a in zip(x.shape[2:], stride, kernel, pad[:rank], pad[rank:], strict=True)
        ]
        # The places count in the natural shape, even if a larger one is asked for.
        flat = x.new_zeros(math.prod(x.shape[:2]) * math.prod(natural))
        y = flat.scatter(0, index.reshape(-1), x.reshape(-1)).reshape(*x.shape[:2], *natural)
        if target is None:
            return y
        return F.pad(y, torch_pads([0] * rank, [t - n for t, n in zip(target[2:], natural, strict=True)]))

    return compute
