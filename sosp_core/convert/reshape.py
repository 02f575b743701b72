"""Operators that move elements and change none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sosp_core.convert.operands import ints, required
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters


@converters.register("Identity")
def identity(op: Operator) -> Compute:
    """The input."""
    return lambda x: x


@converters.register("Reshape", since=5)
def reshape(op: Operator) -> Compute:
    """To the shape given; 0 copies a size (unless ``allowzero``), -1 takes what is left."""
    read, allow_zero = ints(op, 1), op.attribute("allowzero", 0)

    def compute(x: Tensor, shape: Tensor | None = None) -> Tensor:
        sizes = required(read(shape), "shape")
        if not allow_zero:
            sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
        return x.reshape(sizes)

    return compute


@converters.register("Flatten")
def flatten(op: Operator) -> Compute:
    """To a matrix: axes before ``axis`` become the rows, the others the columns."""
    axis = op.attribute("axis", 1)

    def compute(x: Tensor) -> Tensor:
        start = axis + x.dim() if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:start]), math.prod(x.shape[start:]))

    return compute


@converters.register("Transpose")
def transpose(op: Operator) -> Compute:
    """Axis i of the result is axis ``perm[i]``; by default, all axes in reverse."""
    perm = op.attribute("perm")
    return lambda x: x.permute(perm if perm is not None else list(reversed(range(x.dim()))))


@converters.register("Squeeze")
def squeeze(op: Operator) -> Compute:
    """Without the axes given, or without every axis of size 1."""
    read = ints(op, 1, "axes")

    def compute(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = read(axes)
        return x.squeeze() if chosen is None else x.squeeze(chosen)

    return compute


@converters.register("Unsqueeze")
def unsqueeze(op: Operator) -> Compute:
    """With axes of size 1 at the positions given, counted in the result."""
    read = ints(op, 1, "axes")

    def compute(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = required(read(axes), "axes")
        rank = x.dim() + len(chosen)
        for axis in sorted(a % rank for a in chosen):
            x = x.unsqueeze(axis)
        return x

    return compute


@converters.register("Expand", since=8)
def expand(op: Operator) -> Compute:
    """Broadcast with a tensor of the shape given; unlike torch's, either side may stretch."""
    read = ints(op, 1)

    def compute(x: Tensor, shape: Tensor | None = None) -> Tensor:
        wanted = required(read(shape), "shape")
        rank = max(x.dim(), len(wanted))
        have, ask = [1] * (rank - x.dim()) + list(x.shape), [1] * (rank - len(wanted)) + wanted
        return x.expand([a if h == 1 else h for h, a in zip(have, ask, strict=True)])

    return compute


@converters.register("Tile", since=6)
def tile(op: Operator) -> Compute:
    """Axis i, ``repeats[i]`` times over."""
    read = ints(op, 1)
    return lambda x, repeats=None: x.repeat(required(read(repeats), "repeats"))


@converters.register("DepthToSpace")
def depth_to_space(op: Operator) -> Compute:
    """Blocks of channels become squares of pixels.

    ``DCR`` (the default) counts channels as (row, column, channel), ``CRD`` as
    (channel, row, column): only the latter is torch's ``pixel_shuffle``.
    """
    block, mode = op.attribute("blocksize"), op.attribute("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Unconvertible(f"mode {mode!r} is not known")

    def compute(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        depth = c // block**2
        if mode == "DCR":
            blocks = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            blocks = x.reshape(n, depth, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return blocks.reshape(n, depth, h * block, w * block)

    return compute


#: Where (row, column, channel) or (channel, row, column) are in [N, C, rows, row, columns, column].
BLOCK_ORDERS = {"DCR": (3, 5, 1), "CRD": (1, 3, 5)}


@converters.register("SpaceToDepth")
def space_to_depth(op: Operator) -> Compute:
    """Squares of pixels become channels, counted as (row, column, channel).

    From opset 28 there is a mode ``CRD``, which counts as (channel, row, column).
    """
    block, order = op.attribute("blocksize"), BLOCK_ORDERS.get(op.attribute("mode", "DCR"))
    if order is None:
        raise Unconvertible(f"mode {op.attribute('mode')!r} is not known")

    def compute(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        rows, columns = h // block, w // block
        blocks = x.reshape(n, c, rows, block, columns, block).permute(0, *order, 2, 4)
        return blocks.reshape(n, c * block**2, rows, columns)

    return compute


@converters.register("Trilu", since=14)
def trilu(op: Operator) -> Compute:
    """The upper or lower triangle of matrices, from the diagonal ``k`` above the main one."""
    read, part = ints(op, 1), torch.triu if op.attribute("upper", 1) else torch.tril

    def compute(x: Tensor, k: Tensor | None = None) -> Tensor:
        diagonal = read(k)
        return part(x, diagonal[0] if diagonal else 0)

    return compute
