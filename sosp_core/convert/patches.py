"""Operators that cut images into patches, put them together, or change their size without resampling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import ints, required
from sosp_core.convert.table import Compute, Operator, converters


@converters.register("Col2Im", since=18)
def col2im(op: Operator) -> Compute:
    """Add up overlapping patches: ``[N, C · taps, positions]`` to ``[N, C, *image]``."""
    read_image, read_block = ints(op, 1), ints(op, 2)
    strides, dilations, pads = (op.attribute(k) for k in ("strides", "dilations", "pads"))

    def compute(x: Tensor, image: Tensor | None = None, block: Tensor | None = None) -> Tensor:
        size, kernel = required(read_image(image), "image_shape"), required(read_block(block), "block_shape")
        rank = len(size)
        stride, dilation, pad = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
        padded = [s + pad[i] + pad[i + rank] for i, s in enumerate(size)]
        counts = [
            (p - d * (k - 1) - 1) // s + 1
            for p, d, k, s in zip(padded, dilation, kernel, stride, strict=True)
        ]
        patches = x.reshape(x.shape[0], -1, math.prod(kernel), *counts)
        y = x.new_zeros((*patches.shape[:2], *padded))
        for number, tap in enumerate(itertools.product(*map(range, kernel))):
            starts = [t * d for t, d in zip(tap, dilation, strict=True)]
            axes = zip(starts, stride, counts, strict=True)
            place: tuple[Any, ...] = (..., *(slice(b, b + s * (n - 1) + 1, s) for b, s, n in axes))
            moved = torch.zeros_like(y)
            moved[place] = patches[:, :, number]
            y = y + moved
        inner: tuple[Any, ...] = (..., *(slice(pad[i], pad[i] + s) for i, s in enumerate(size)))
        return y[inner]

    return compute


@converters.register("CenterCropPad", since=18)
def center_crop_pad(op: Operator) -> Compute:
    """Cut or zero-extend the axes to a shape, around their middle; an odd one goes to the end."""
    read, axes = ints(op, 1), op.attribute("axes")

    def compute(x: Tensor, shape: Tensor | None = None) -> Tensor:
        sizes = required(read(shape), "shape")
        for axis, size in zip(axes or range(len(sizes)), sizes, strict=True):
            dim = axis % x.dim()
            spare = size - x.shape[dim]
            if spare < 0:
                x = x.narrow(dim, -spare // 2, size)
            elif spare > 0:
                behind = [0, 0] * (x.dim() - 1 - dim)
                x = F.pad(x, [*behind, spare // 2, spare - spare // 2])
        return x

    return compute
