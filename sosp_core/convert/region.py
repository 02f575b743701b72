"""Operators that read an image at computed places: regions, deformed windows, affine grids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import ints, required
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters
from sosp_core.convert.window import spatial_rank


def corners(y: Tensor, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The four pixels around every place, as (row, column, share); shares add up to one.

    Only shares carry a gradient, and they are products: torch's own ``grid_sample`` cannot be
    differentiated twice.
    """
    top, left = y.detach().floor(), x.detach().floor()
    dy, dx = y - top, x - left
    rows, columns = (top.long(), top.long() + 1), (left.long(), left.long() + 1)
    return [
        (rows[i], columns[j], (dy if i else 1 - dy) * (dx if j else 1 - dx)) for i in (0, 1) for j in (0, 1)
    ]


def pick(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """``image [N, C, H, W]`` at ``[N, P]`` places, zero outside: ``[N, C, P]``."""
    height, width = image.shape[-2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).unsqueeze(1)
    found = image.flatten(2).gather(2, at.expand(-1, image.shape[1], -1))
    return found * inside.unsqueeze(1)


@converters.register("DeformConv", since=19, trainable=(1, 3))
def deform_conv(op: Operator) -> Compute:
    """Convolution whose taps are moved by ``offset`` and weighted by ``mask``.

    Tap t of output position p reads the image, bilinear and zero outside, at
    ``stride · p + dilation · t − pad + offset[t, p]``. Offsets come as (row, column) for each tap,
    once for each of ``offset_group`` groups of input channels.
    """
    spatial_rank(op)
    group, shares = op.attribute("group", 1), op.attribute("offset_group", 1)
    stride, dilation = op.attribute("strides") or [1, 1], op.attribute("dilations") or [1, 1]
    pads = op.attribute("pads") or [0, 0, 0, 0]
    if len(stride) != 2:
        raise Unconvertible("deformed windows over other than two axes")

    def compute(
        x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        n, channels = x.shape[:2]
        kernel, out = weight.shape[2:], offset.shape[2:]
        taps = kernel[0] * kernel[1]
        moved = offset.reshape(n * shares, taps, 2, *out)
        places = []
        for axis in (0, 1):
            shape = [1, kernel[0] if axis == 0 else 1, kernel[1] if axis == 1 else 1, 1, 1]
            tap = torch.arange(kernel[axis], device=x.device, dtype=x.dtype).reshape(shape)
            start = torch.arange(out[axis], device=x.device, dtype=x.dtype)
            start = start.reshape(-1, 1) if axis == 0 else start
            still = stride[axis] * start + dilation[axis] * tap - pads[axis]
            still = still.expand(1, *kernel, *out).reshape(1, taps, *out)
            places.append((still + moved[:, :, axis]).flatten(1))
        image = x.reshape(n * shares, channels // shares, *x.shape[2:])
        read = torch.zeros((), dtype=x.dtype, device=x.device)
        for row, column, share in corners(*places):
            read = read + pick(image, row, column) * share.unsqueeze(1)
        if mask is not None:
            read = read * mask.reshape(n * shares, 1, -1)
        columns = read.reshape(n, group, channels // group, taps, -1).flatten(2, 3)
        y = torch.matmul(weight.reshape(group, weight.shape[0] // group, -1), columns)
        y = y.reshape(n, weight.shape[0], *out)
        return y if bias is None else y + bias.reshape(-1, 1, 1)

    return compute


@converters.register("RoiAlign", since=10)
def roi_align(op: Operator) -> Compute:
    """Mean or maximum of bilinear samples on a regular grid in every bin of every region.

    Samples beyond one pixel outside count as zero, nearer ones read the border. Without a
    ``sampling_ratio`` a bin has ``ceil(its size)`` samples along each axis.
    """
    size = op.attribute("output_height", 1), op.attribute("output_width", 1)
    ratio, scale = op.attribute("sampling_ratio", 0), op.attribute("spatial_scale", 1.0)
    half = op.attribute("coordinate_transformation_mode", "half_pixel") == "half_pixel" and op.opset >= 16
    maximum = op.attribute("mode", "avg") == "max"

    def samples(start: Tensor, length: Tensor, bins: int) -> Tensor:
        """Places ``[bins, samples of a bin]`` along one axis."""
        step = length / bins
        count = ratio if ratio > 0 else max(int(torch.ceil(step.detach())), 1)
        within = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
        first = torch.arange(bins, device=start.device, dtype=start.dtype).unsqueeze(1)
        return start + (first + within) * step

    def one(image: Tensor, roi: Tensor) -> Tensor:
        left, top, right, bottom = (edge * scale - (0.5 if half else 0.0) for edge in roi.unbind())
        extents = [bottom - top, right - left]
        if not half:  # the older rule has no region smaller than a pixel
            extents = [extent.clamp(min=1.0) for extent in extents]
        y, x = (
            samples(start, extent, bins)
            for start, extent, bins in zip((top, left), extents, size, strict=True)
        )
        rows = y.reshape(-1, 1).expand(-1, x.numel())
        columns = x.reshape(1, -1).expand(y.numel(), -1)
        height, width = image.shape[-2:]
        near = (rows >= -1) & (rows <= height) & (columns >= -1) & (columns <= width)
        at = rows.clamp(0, height - 1).reshape(1, -1), columns.clamp(0, width - 1).reshape(1, -1)
        parts = [pick(image.unsqueeze(0), r, c) * share.unsqueeze(1) for r, c, share in corners(*at)]
        shape = (image.shape[0], size[0], y.shape[1], size[1], x.shape[1])
        if maximum:  # of the four weighted pixels of all samples, as ONNX Runtime has it
            found = torch.stack([(p * near.reshape(1, 1, -1)).reshape(shape) for p in parts])
            return torch.amax(found, (0, 3, 5))
        total = torch.stack(parts).sum(0) * near.reshape(1, 1, -1)
        return torch.mean(total.reshape(shape), (2, 4))

    def compute(x: Tensor, rois: Tensor, batch: Tensor) -> Tensor:
        if not len(rois):
            return x.new_zeros((0, x.shape[1], *size))
        return torch.stack([one(x[int(i)], roi) for i, roi in zip(batch, rois, strict=True)])

    return compute


@converters.register("AffineGrid", since=20)
def affine_grid(op: Operator) -> Compute:
    """``theta [N, r, r + 1]`` applied to every position of a grid on [−1, 1]."""
    read, align = ints(op, 1), bool(op.attribute("align_corners", 0))

    def compute(theta: Tensor, size: Tensor | None = None) -> Tensor:
        return F.affine_grid(theta, required(read(size), "size"), align_corners=align)

    return compute


@converters.register("NonMaxSuppression", since=10)
def non_max_suppression(op: Operator) -> Compute:
    """Indices (sample, class, box) of the best boxes that overlap no better one; no gradient."""
    center = bool(op.attribute("center_point_box", 0))

    def compute(
        boxes: Tensor,
        scores: Tensor,
        most: Tensor | None = None,
        overlap: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Tensor:
        limit = 0 if most is None else int(most)
        threshold = 0.0 if overlap is None else float(overlap)
        chosen: list[tuple[int, int, int]] = []
        for n, (sample, by_class) in enumerate(zip(boxes.detach(), scores.detach(), strict=True)):
            shared = _overlaps(_edges(sample, center))
            for c, score in enumerate(by_class):
                kept: list[int] = []
                for box in torch.argsort(score, descending=True, stable=True).tolist():
                    if len(kept) == limit or (least is not None and not score[box] > float(least)):
                        break
                    if not bool((shared[box, kept] > threshold).any()):
                        kept.append(box)
                chosen += [(n, c, box) for box in kept]
        return torch.tensor(chosen, dtype=torch.int64, device=boxes.device).reshape(-1, 3)

    return compute


def _edges(boxes: Tensor, center: bool) -> Tensor:
    """``[boxes, (low, high), 2]``; corners may come in either order."""
    if center:
        middle, half = boxes[:, :2], boxes[:, 2:] / 2
        return torch.stack([middle - half, middle + half], 1)
    ends = boxes.reshape(-1, 2, 2)
    return torch.stack([ends.amin(1), ends.amax(1)], 1)


def _overlaps(edges: Tensor) -> Tensor:
    """Intersection over union of every pair."""
    low, high = edges[:, 0], edges[:, 1]
    meet = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(-1)
    area = (high - low).prod(-1)
    union = area[:, None] + area - meet
    return torch.where(union > 0, meet / union, torch.zeros_like(meet))
