"""Resize, Upsample, GridSample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import Ints, ints
from sosp_core.convert.resample import Axis, Filter
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

Scales = Callable[["Tensor | None"], "list[float] | None"]


def _floats(op: Operator, position: int, attribute: str | None = None) -> Scales:
    known = op.attribute(attribute) if attribute else None
    if known is None and position in op.constants:
        known = np.atleast_1d(op.constants[position]).tolist()
    if known is not None:
        fixed = [float(v) for v in known]
        return lambda _: fixed or None
    return lambda value: value.reshape(-1).tolist() or None if value is not None else None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the node says of the result's size; each field reads an input."""

    roi: Scales
    scales: Scales
    sizes: Ints
    axes: list[int] | None
    policy: str

    def axes_of(
        self, x: Tensor, roi: Tensor | None, scales: Tensor | None, sizes: Tensor | None
    ) -> dict[int, Axis]:
        """The axes that change, by number."""
        dims = list(range(x.dim())) if self.axes is None else [a % x.dim() for a in self.axes]
        region = self.roi(roi) or [0.0] * len(dims) + [1.0] * len(dims)
        factors, wanted = self.scales(scales), self.sizes(sizes)
        if wanted:
            factors, wanted = self._of_sizes([x.shape[d] for d in dims], wanted)
        if factors is None:
            raise ValueError("Resize has neither scales nor sizes")
        result = {}
        for i, (dim, scale) in enumerate(zip(dims, factors, strict=True)):
            size = x.shape[dim]
            out = wanted[i] if wanted else math.floor(np.float32(scale) * np.float32(size))
            ends = (region[i], region[i + len(dims)])
            if scale != 1 or out != size:  # ONNX Runtime does not even crop an axis of scale 1
                result[dim] = Axis(size=size, out=out, scale=float(scale), roi=ends)
        return result

    def _of_sizes(self, have: Sequence[int], wanted: list[int]) -> tuple[list[float], list[int]]:
        factors = [w / h for w, h in zip(wanted, have, strict=True)]
        if self.policy == "stretch":
            return factors, wanted
        one = min(factors) if self.policy == "not_larger" else max(factors)
        return [one] * len(have), [math.floor(one * h + 0.5) for h in have]


def _resize(op: Operator, target: Target) -> Callable[..., Tensor]:
    filter_ = Filter.of(op)

    def compute(x: Tensor, roi: Tensor | None, scales: Tensor | None, sizes: Tensor | None) -> Tensor:
        axes = target.axes_of(x, roi, scales, sizes)
        native = filter_.native(x, axes)
        if native is not None:
            return native
        y = x
        for dim, axis in axes.items():
            y = filter_.resample(y, dim, axis)
        return y.to(x.dtype)

    return compute


@converters.register("Resize", since=11)
def resize(op: Operator) -> Compute:
    """Inputs: x, region of interest, then either scales or sizes."""
    policy = op.attribute("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise Unconvertible(f"keep_aspect_ratio_policy {policy!r} is not known")
    compute = _resize(
        op,
        Target(
            roi=_floats(op, 1),
            scales=_floats(op, 2),
            sizes=ints(op, 3),
            axes=op.attribute("axes"),
            policy=policy,
        ),
    )

    def run(x: Tensor, *rest: Tensor | None) -> Tensor:
        return compute(x, *itertools.islice(itertools.chain(rest, itertools.repeat(None)), 3))

    return run


@converters.register("Resize", since=10, until=10)
@converters.register("Upsample", since=7)
def upsample(op: Operator) -> Compute:
    """Inputs: x, and scales, which Upsample of opset 7 has as an attribute."""
    target = Target(
        roi=_floats(op, -1),
        scales=_floats(op, 1, "scales"),
        sizes=lambda _: None,
        axes=None,
        policy="stretch",
    )
    compute = _resize(op, target)
    return lambda x, scales=None: compute(x, None, scales, None)


GRID_MODES = {
    "bilinear": "bilinear",
    "linear": "bilinear",
    "nearest": "nearest",
    "bicubic": "bicubic",
    "cubic": "bicubic",
}


@converters.register("GridSample", since=16)
def grid_sample(op: Operator) -> Compute:
    """Read x at the positions that the grid names, in -1 … 1 along each axis."""
    mode, corners = op.attribute("mode", "bilinear"), bool(op.attribute("align_corners", 0))
    padding = op.attribute("padding_mode", "zeros")
    if mode not in GRID_MODES:
        raise Unconvertible(f"mode {mode!r} is not known")
    name = GRID_MODES[mode]

    def compute(x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(x, grid, mode=name, padding_mode=padding, align_corners=corners)

    return compute
