"""Costs as sums of products of widths, evaluated by the number of structures kept in each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sosp_core.config import COUNTED, Metric
from sosp_core.cost.axes import Axes
from sosp_core.structures.structures import Alive, Members, Structures, Term

Kept = NDArray[np.int64]


class Cost(Protocol):
    """One metric as a function of how many structures each group keeps."""

    def kept(self, alive: Alive) -> Kept:
        """Structures kept in each group under a mask."""

    def total(self, kept: Kept) -> int:
        """The metric's value."""

    def gain(self, kept: Kept, group: int, n: int) -> float:
        """What removing ``n`` more structures of a group saves, at the present widths."""


def terms_of(structures: Structures, metric: Metric) -> tuple[Term, ...]:
    """The terms whose sum is ``metric``, one that is counted."""
    if metric is Metric.STRUCTURES:
        return (Term(coefficient=1.0, factors=(np.arange(structures.count),)),)
    return {Metric.MACS: structures.macs, Metric.PARAMS: structures.params, Metric.SIZE: structures.bytes}[
        metric
    ]


class CostModel:
    """One metric as a function of how many structures each group keeps.

    All structures of a group occur on the same axes equally often, so their number is enough.
    """

    def __init__(self, structures: Structures, metric: Metric) -> None:
        terms = terms_of(structures, metric)
        self._groups = structures.groups
        rows: dict[bytes, int] = {}
        distinct: list[Members] = []
        depth = max((len(t.factors) for t in terms), default=1)
        self._index = np.zeros((len(terms), max(depth, 1)), dtype=np.int64)
        self._coefficient = np.array([t.coefficient for t in terms])
        for i, term in enumerate(terms):
            for j, members in enumerate(term.factors):
                key = members.tobytes()
                if key not in rows:
                    distinct.append(members)
                    rows[key] = len(distinct)
                self._index[i, j] = rows[key]
        axes = Axes.of(distinct, structures)
        count = len(structures.groups)
        # Row 0 is the constant 1, which pads short products.
        self._fixed = np.concatenate([[1.0], axes.fixed])
        self._multiplicity = np.vstack([np.zeros(count), axes.shares])
        touched = (self._multiplicity[self._index] != 0).any(axis=1)  # [terms, groups]
        self._terms_of = [np.flatnonzero(touched[:, g]) for g in range(count)]
        self._neighbours = [np.flatnonzero(touched[rows_].any(axis=0)) for rows_ in self._terms_of]

    def kept(self, alive: Alive) -> Kept:
        """Structures kept in each group under a mask."""
        return np.array([int(alive[g.members].sum()) for g in self._groups], dtype=np.int64)

    def total(self, kept: Kept) -> int:
        """The metric's value."""
        widths = self._fixed + self._multiplicity @ kept
        return round(float((self._coefficient * widths[self._index].prod(axis=1)).sum()))

    def gain(self, kept: Kept, group: int, n: int) -> float:
        """What removing ``n`` more structures of a group saves, at the present widths."""
        terms = self._terms_of[group]
        index, coefficient = self._index[terms], self._coefficient[terms]
        widths = self._fixed + self._multiplicity @ kept
        slimmer = widths - n * self._multiplicity[:, group]
        return float((coefficient * (widths[index].prod(axis=1) - slimmer[index].prod(axis=1))).sum())

    def neighbours(self, group: int) -> Sequence[int]:
        """Groups whose gain changes when this one shrinks, itself included."""
        return [int(g) for g in self._neighbours[group]]


def measure(structures: Structures, alive: Alive) -> dict[Metric, int]:
    """Every counted metric under a mask."""
    result = {}
    for metric in COUNTED:
        model = CostModel(structures, metric)
        result[metric] = model.total(model.kept(alive))
    return result
