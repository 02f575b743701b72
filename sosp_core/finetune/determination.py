"""R² of an output's features, added up batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

#: Of a feature's mean square: a variance below it is what rounding leaves of a constant.
ROUNDING = 1e-13


class Determination:
    """The coefficient of determination ``1 − Σ(y−r)² / Σ(r−r̄)²`` of each feature about its own mean."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._origin = torch.zeros(())
        self._count = 0

    def add(self, y: Tensor, reference: Tensor) -> None:
        """Take in the answers to a batch, and the original's: ``[n, features, ...]``."""
        a, b = (t.double().transpose(0, 1).flatten(1) for t in (y, reference))
        if not self._parts:  # sums about the first mean: those about zero would cancel
            self._origin = b.mean(1, keepdim=True)
        about = b - self._origin
        sums = ((a - b).square(), about.square(), about, b.square())
        self._parts.append(torch.stack([s.sum(1) for s in sums]))
        self._count += b.shape[1]

    def value(self) -> float:
        """The mean over the features that vary, none less than 0; about zero if there are none."""
        error, squares, sums, total = torch.stack(self._parts).sum(0)
        spread = squares - sums.square() / self._count
        varies = spread > ROUNDING * total
        if bool(varies.any()):
            return float((1 - error[varies] / spread[varies]).clamp(min=0).mean())
        tiny = torch.finfo(total.dtype).tiny
        return max(0.0, 1 - float(error.sum() / total.sum().clamp(min=tiny)))
