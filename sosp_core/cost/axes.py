"""Widths of axes as functions of how many structures each group keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sosp_core.structures.structures import STAYS, Members, Structures

Widths = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The distinct axes of a model whose widths follow a plan.

    Attributes:
        fixed: ``[A]``, indices that stay for ever.
        shares: ``[A, G]``, indices that one structure of each group adds.
        full: ``[A]``, the widths of the original.
    """

    fixed: NDArray[np.float64]
    shares: NDArray[np.float64]
    full: Widths

    @classmethod
    def of(cls, distinct: Iterable[Members], structures: Structures) -> Axes:
        """Count what each group gives to each axis."""
        group_of = np.zeros(structures.count, dtype=np.int64)
        for number, group in enumerate(structures.groups):
            group_of[group.members] = number
        sizes = np.array([len(g.members) for g in structures.groups], dtype=np.float64)
        axes = list(distinct)
        cut = [members[members != STAYS] for members in axes]
        shares = [np.bincount(group_of[c], minlength=len(sizes)) / np.maximum(sizes, 1) for c in cut]
        return cls(
            fixed=np.array([float(len(m) - len(c)) for m, c in zip(axes, cut, strict=True)]),
            shares=np.array(shares).reshape(len(axes), len(sizes)),
            full=tuple(len(m) for m in axes),
        )

    def widths(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """``[A]``, the widths where each group keeps so many structures."""
        return np.rint(self.fixed + self.shares @ kept).astype(np.int64)
