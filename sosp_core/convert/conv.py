"""Convolution and its transpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.table import Compute, Operator, converters
from sosp_core.convert.window import auto_pad_of, halves, spatial_rank, torch_pads, windows_of

CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


@converters.register("Conv", since=1, trainable=(1, 2))
def conv(op: Operator) -> Compute:
    """``y[n, o, p] = b[o] + Σ_{c, t} w[o, c, t] · x[n, c, stride·p + dilation·t − pad]``."""
    spatial_rank(op)
    place, group = windows_of(op), op.attribute("group", 1)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        windows = place(x.shape[2:], weight.shape[2:])
        padded, padding = windows.pad(x)
        convolve = CONV[len(windows.kernel)]
        return convolve(padded, weight, bias, windows.strides, padding, windows.dilations, group)

    return compute


@converters.register("ConvTranspose", since=1, trainable=(1, 2))
def conv_transpose(op: Operator) -> Compute:
    """The gradient of Conv in its input, cut or zero-extended to the size asked for.

    Uncut, an axis has ``stride·(size − 1) + dilation·(k − 1) + 1`` elements; ``pads`` cuts,
    ``output_padding`` extends the end. ``output_shape`` sets the final size instead, and so does
    ``SAME_*`` (``stride · size``), which as in ONNX Runtime only ever cuts.
    """
    spatial_rank(op)
    group, crop = op.attribute("group", 1), _crop_of(op)
    strides, dilations = op.attribute("strides"), op.attribute("dilations")

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        stride, dilation = strides or [1] * rank, dilations or [1] * rank
        convolve = CONV_TRANSPOSE[rank]
        cut, add = crop(x.shape[2:], weight.shape[2:])
        fits = all(0 <= a < max(s, d) for a, s, d in zip(add, stride, dilation, strict=True))
        if fits and min(cut) >= 0:
            return convolve(x, weight, bias, stride, cut, add, group, dilation)
        whole = convolve(x, weight, None, stride, 0, 0, group, dilation)
        begin = [-c for c in cut]
        end = [a - c for a, c in zip(add, cut, strict=True)]
        y = F.pad(whole, torch_pads(begin, end))
        return y if bias is None else y + bias.reshape(-1, *[1] * rank)

    return compute


def _crop_of(op: Operator) -> Callable[[Sequence[int], Sequence[int]], tuple[list[int], list[int]]]:
    """Per axis: elements cut at both ends, then elements added (negative: cut) at the end."""
    mode, pads, target = auto_pad_of(op), op.attribute("pads"), op.attribute("output_shape")
    extra, strides, dilations = (op.attribute(k) for k in ("output_padding", "strides", "dilations"))
    same = mode.startswith("SAME")

    def crop(size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
        rank = len(kernel)
        ones, zeros = [1] * rank, [0] * rank
        stride, dilation = strides or ones, dilations or ones
        uncut = [
            s * (n - 1) + d * (k - 1) + 1 for s, n, d, k in zip(stride, size, dilation, kernel, strict=True)
        ]
        have = [u + e for u, e in zip(uncut, extra or zeros, strict=True)]
        if target or same:
            asked = target[-rank:] if target else [n * s for n, s in zip(size, stride, strict=True)]
            spare = [max(h - a, 0) for h, a in zip(have, asked, strict=True)]
            begin = [halves(s, mode == "SAME_UPPER")[0] for s in spare]
            want = asked if target else [min(h, a) for h, a in zip(have, asked, strict=True)]
        else:
            flat = (pads if mode == "NOTSET" else None) or zeros * 2
            begin = flat[:rank]
            want = [h - b - a for h, b, a in zip(have, begin, flat[rank:], strict=True)]
        return begin, [w - u + 2 * b for w, u, b in zip(want, uncut, begin, strict=True)]

    return crop
