"""One-axis resampling: where results read their input, and with which weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.table import Operator, Unconvertible

Floats = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis to resample.

    Attributes:
        scale: As given; ``out / size`` where sizes were given.
        roi: Start and end of the region that ``tf_crop_and_resize`` reads, in shares of the axis.
    """

    size: int
    out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


# Coordinates are computed in float32, operation by operation as ONNX Runtime does: in float64
# some that are halfway between two elements would fall on one side, and nearest_mode decide wrongly.


def _half_pixel(i: Floats, axis: Axis) -> Floats:
    return (i + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _half_pixel_symmetric(i: Floats, axis: Axis) -> Floats:
    share = np.float32(axis.out) / (np.float32(axis.scale) * np.float32(axis.size))
    offset = np.float32(axis.size / 2) * (np.float32(1) - share)
    return offset + (i + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _pytorch_half_pixel(i: Floats, axis: Axis) -> Floats:
    return _half_pixel(i, axis) if axis.out > 1 else np.zeros_like(i)


def _align_corners(i: Floats, axis: Axis) -> Floats:
    if axis.out == 1:
        return np.zeros_like(i)
    return i * np.float32(axis.size - 1) / np.float32(axis.out - 1)


def _asymmetric(i: Floats, axis: Axis) -> Floats:
    return i / np.float32(axis.scale)


def _tf_half_pixel_for_nn(i: Floats, axis: Axis) -> Floats:
    return (i + np.float32(0.5)) / np.float32(axis.scale)


def _tf_crop_and_resize(i: Floats, axis: Axis) -> Floats:
    start, end = (np.float32(edge) for edge in axis.roi)
    last = np.float32(axis.size - 1)
    if axis.out == 1:
        return np.full_like(i, np.float32(0.5) * (start + end) * last)
    return start * last + i * (end - start) * last / np.float32(axis.out - 1)


#: By coordinate_transformation_mode, from result positions to (fractional) input positions.
COORDINATES: dict[str, Callable[[Floats, Axis], Floats]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_half_pixel_for_nn": _tf_half_pixel_for_nn,
    "tf_crop_and_resize": _tf_crop_and_resize,
}

NEAREST: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _triangle(distance: Floats, _: float) -> Floats:
    weights: Floats = np.maximum(1 - np.abs(distance), 0)
    return weights


def _cubic(distance: Floats, a: float) -> Floats:
    """Keys' kernel, equation (4) of doi:10.1109/TASSP.1981.1163711."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    weights: Floats = np.where(d <= 1, near, np.where(d < 2, far, 0))
    return weights


@dataclass(frozen=True, kw_only=True)
class Filter:
    """How a node resamples each axis: result i is ``Σ_t weight[i, t] · x[position[i, t]]``."""

    mode: str
    coordinates: str
    nearest: str
    cubic_a: float
    exclude_outside: bool
    antialias: bool
    extrapolation: float

    @classmethod
    def of(cls, op: Operator) -> Filter:
        """Read the attributes; Resize of opset 10 and Upsample have none but ``mode``."""
        old = op.opset < 11
        new = cls(
            mode=str(op.attribute("mode", "nearest")),
            coordinates=str(op.attribute("coordinate_transformation_mode", "half_pixel")),
            nearest=str(op.attribute("nearest_mode", "round_prefer_floor")),
            cubic_a=op.attribute("cubic_coeff_a", -0.75),
            exclude_outside=bool(op.attribute("exclude_outside", 0)),
            antialias=bool(op.attribute("antialias", 0)),
            extrapolation=op.attribute("extrapolation_value", 0.0),
        )
        if old:
            new = replace(new, coordinates="asymmetric", nearest="floor")
        if new.mode not in ("nearest", "linear", "cubic"):
            raise Unconvertible(f"mode {new.mode!r} is not known")
        if new.coordinates not in COORDINATES or new.nearest not in NEAREST:
            raise Unconvertible(f"{new.coordinates!r} with {new.nearest!r} is not known")
        return new

    def taps(self, axis: Axis) -> tuple[Floats, Floats]:
        """Positions and weights ``[out, taps]``; positions lie within the axis."""
        at = COORDINATES[self.coordinates](np.arange(axis.out, dtype=np.float32), axis)
        if self.mode == "nearest":
            chosen = NEAREST[self.nearest](at)[:, None]
            return np.clip(chosen, 0, axis.size - 1).astype(np.int64), np.ones_like(chosen)
        reach, kernel = (1, _triangle) if self.mode == "linear" else (2, _cubic)
        squeeze = min(axis.scale, 1.0) if self.antialias else 1.0
        if self.mode == "linear" and not self.antialias:
            at = np.clip(at, 0, axis.size - 1)
        first = math.floor(-reach / squeeze) + 1
        positions = np.floor(at)[:, None] + np.arange(first, 2 - first)
        weights = kernel((positions - at[:, None].astype(np.float64)) * squeeze, self.cubic_a)
        if self.exclude_outside:
            weights = np.where((positions < 0) | (positions >= axis.size), 0, weights)
        weights = weights / weights.sum(1, keepdims=True)
        return np.clip(positions, 0, axis.size - 1).astype(np.int64), weights

    def resample(self, x: Tensor, dim: int, axis: Axis) -> Tensor:
        """``x`` with one axis resampled."""
        positions, weights = self.taps(axis)
        index = torch.from_numpy(positions).to(x.device)
        if self.mode == "nearest":
            y = x.index_select(dim, index[:, 0])
        else:
            factors = torch.from_numpy(weights).to(x.device, x.dtype)
            shape = [1] * x.dim()
            shape[dim] = axis.out
            terms = (
                x.index_select(dim, i) * w.reshape(shape) for i, w in zip(index.t(), factors.t(), strict=True)
            )
            y = sum(terms, start=x.new_zeros(()))
        return self._extrapolated(y, dim, axis)

    def _extrapolated(self, y: Tensor, dim: int, axis: Axis) -> Tensor:
        if self.coordinates != "tf_crop_and_resize":
            return y
        at = COORDINATES[self.coordinates](np.arange(axis.out, dtype=np.float32), axis)
        shape = [1] * y.dim()
        shape[dim] = axis.out
        outside = torch.from_numpy((at < 0) | (at > axis.size - 1)).to(y.device).reshape(shape)
        return torch.where(outside, torch.full_like(y, self.extrapolation), y)

    def native(self, x: Tensor, axes: dict[int, Axis]) -> Tensor | None:
        """The same by ``F.interpolate``, where torch has precisely this filter; else None."""
        rank = x.dim() - 2
        exact = all(a.scale * a.size == a.out for a in axes.values())
        if rank not in (1, 2, 3) or min(axes, default=2) < 2 or not exact or self.antialias:
            return None
        name = {"nearest": "nearest", "linear": ("linear", "bilinear", "trilinear")[rank - 1]}.get(self.mode)
        sizes = [axes[d].out if d in axes else x.shape[d] for d in range(2, x.dim())]
        if self.mode == "nearest":
            whole = all(a.out % a.size == 0 for a in axes.values())
            rule = (self.coordinates, self.nearest)
            same = whole and rule in {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")}
            return F.interpolate(x, sizes, mode="nearest") if same else None
        if (
            name is None
            or self.coordinates not in ("half_pixel", "align_corners")
            or not x.is_floating_point()
        ):
            return None
        return F.interpolate(x, sizes, mode=name, align_corners=self.coordinates == "align_corners")
