"""Latency as a cost: a table of measured pieces, summed at the widths of a plan.

``latency(kept) ≈ scale · (Σ segments + rest · numbers touched)``: a segment is timed when its
widths are first asked for, so a table holds what selection looks at and nothing else; the rest is
what the pieces leave of the whole network's time; the scale makes the original exact. Fusion and
caches make a sum of pieces wrong by some per cent: see ``stages.clocked`` for the correction.

Cost: ``SECONDS`` for each piece at each width, of which equal layers share theirs; once ``LIMIT_S``
are spent, new entries are interpolated from those that were measured along one axis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sosp_core.cost.model import Kept
from sosp_core.cost.segments import Anatomy, Segment
from sosp_core.errors import ModelError
from sosp_core.structures.structures import Alive, Group

SECONDS = 0.02
LIMIT_S = 120.0
#: Up to this width every width has its own entry; wider axes have this many, and lines between.
FINEST = 128
#: A width has to be quicker than the next wider one by this share to be worth having.
WORTH = 0.02

#: Seconds that a segment takes at the widths of its axes.
Clock = Callable[[Segment, Sequence[int]], float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How long a group's layers take by what the group keeps, all else whole.

    Attributes:
        kept: Numbers of structures, widest first.
        seconds: What the layers that depend on it take.
        worth: Those numbers that no wider one beats.
    """

    group: str
    kept: tuple[int, ...]
    seconds: tuple[float, ...]
    worth: tuple[int, ...]


@dataclass(kw_only=True)
class Table:
    """Measured seconds by segment and widths.

    Attributes:
        clock: Measures an entry.
        limit_s: Time after which nothing is measured any more.
        spent_s: Time spent so far.
        entries: What was measured.
    """

    clock: Clock
    limit_s: float = LIMIT_S
    spent_s: float = 0.0
    entries: dict[tuple[str, tuple[int, ...]], float] = field(default_factory=dict)

    def seconds(self, segment: Segment, full: Sequence[int], widths: Sequence[int]) -> float:
        """The time of a segment, on a grid or between its points."""
        corners = [_between(w, f) for w, f in zip(widths, full, strict=True)]
        total = 0.0
        for corner in product(*corners):
            weight = float(np.prod([share for _, share in corner]))
            if weight > 0:
                total += weight * self._entry(segment, full, tuple(w for w, _ in corner))
        return total

    def _entry(self, segment: Segment, full: Sequence[int], widths: tuple[int, ...]) -> float:
        key = (segment.signature, widths)
        if key in self.entries:
            return self.entries[key]
        if self.spent_s >= self.limit_s and widths != tuple(full):
            return self._guess(segment, full, widths)
        started = time.perf_counter()
        self.entries[key] = self.clock(segment, widths)
        self.spent_s += time.perf_counter() - started
        return self.entries[key]

    def _guess(self, segment: Segment, full: Sequence[int], widths: tuple[int, ...]) -> float:
        """As if each axis scaled the time by itself: by its own curve, or else in proportion."""
        whole = self._entry(segment, full, tuple(full))
        guess = whole
        for i, (w, f) in enumerate(zip(widths, full, strict=True)):
            alone = (*full[:i], w, *full[i + 1 :])
            known = self.entries.get((segment.signature, alone))
            guess *= w / f if known is None or whole <= 0 else known / whole
        return guess


def _between(width: int, full: int) -> list[tuple[int, float]]:
    """The grid points around a width, with their weights."""
    step = max(1, -(-full // FINEST))
    if step == 1 or width >= full:
        return [(width, 1.0)]
    step = -(-step // 8) * 8
    low = width // step * step
    high = min(low + step, full)
    share = (width - low) / (high - low)
    return [(max(low, 1), 1 - share), (high, share)]


class LatencyModel:
    """Latency in nanoseconds, by how many structures each group keeps; a ``Cost``.

    Attributes:
        table: What it rests on.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        groups: Sequence[Group],
        clock: Clock,
        *,
        whole_s: float,
        median_s: float | None = None,
    ) -> None:
        """Time every piece of the original.

        Args:
            anatomy: The original, taken apart.
            groups: The partition of its structures.
            clock: Times a piece at given widths, at its quickest.
            whole_s: Seconds of the whole original, at its quickest.
            median_s: The same at the median, if that is what totals shall mean.
        """
        self._anatomy, self._groups = anatomy, groups
        self._axes = anatomy.axes
        self.table = Table(clock=clock)
        depends = self._axes.shares > 0  # [A, G]
        count = len(groups)
        self._segments_of = [
            self._touched([s.axes for s in anatomy.segments], depends, g) for g in range(count)
        ]
        rests = [tuple(a for axes in r.axes for a in axes) for r in anatomy.rest]
        self._rests_of = [self._touched(rests, depends, g) for g in range(count)]
        full = np.array(self._axes.full, dtype=np.int64)
        pieces = sum(self._segment(s, full) for s in anatomy.segments)
        touched = sum(r.touched(full) for r in anatomy.rest)
        self._unit = max(0.0, whole_s - pieces) / touched if touched else 0.0
        predicted = pieces + self._unit * touched
        self._scale = (median_s or whole_s) / predicted if predicted > 0 else 1.0

    @staticmethod
    def _touched(axes: Sequence[tuple[int, ...]], depends: NDArray[np.bool_], group: int) -> tuple[int, ...]:
        return tuple(i for i, some in enumerate(axes) if some and depends[list(some), group].any())

    def kept(self, alive: Alive) -> Kept:
        """Structures kept in each group under a mask."""
        return np.array([int(alive[g.members].sum()) for g in self._groups], dtype=np.int64)

    def total(self, kept: Kept) -> int:
        """Nanoseconds of one run."""
        everything = (range(len(self._anatomy.segments)), range(len(self._anatomy.rest)))
        return round(self._sum(self._axes.widths(kept), *everything) * 1e9)

    def gain(self, kept: Kept, group: int, n: int) -> float:
        """Nanoseconds that removing ``n`` more structures of a group saves; below 0 where it costs."""
        fewer = kept.copy()
        fewer[group] -= n
        parts = (self._segments_of[group], self._rests_of[group])
        before, after = (self._sum(self._axes.widths(k), *parts) for k in (kept, fewer))
        return (before - after) * 1e9

    def _sum(self, widths: NDArray[np.int64], segments: Sequence[int], rests: Sequence[int]) -> float:
        pieces = sum(self._segment(self._anatomy.segments[i], widths) for i in segments)
        rest = sum(self._anatomy.rest[i].touched(widths) for i in rests)
        return self._scale * (pieces + self._unit * rest)

    def _segment(self, segment: Segment, widths: NDArray[np.int64]) -> float:
        if not widths[list(segment.axes)].all():  # it goes with its branch; what it was fused to is quick
            return 0.0
        full = [self._axes.full[a] for a in segment.axes]
        return self.table.seconds(segment, full, [int(widths[a]) for a in segment.axes])

    def curve(self, group: int, candidates: Sequence[int]) -> Curve:
        """Time a group at some widths, the others whole, and sort out what a wider one beats.

        Args:
            group: Its number.
            candidates: Numbers of structures to keep; the whole group is always one.
        """
        whole = np.array([len(g.members) for g in self._groups], dtype=np.int64)
        n = int(whole[group])
        kept = tuple(sorted({n, *candidates}, reverse=True))
        parts = (self._segments_of[group], self._rests_of[group])
        seconds: list[float] = []
        for k in kept:
            whole[group] = k
            seconds.append(self._sum(self._axes.widths(whole), *parts))
        worth, quickest = [n], seconds[0]
        for k, s in zip(kept[1:], seconds[1:], strict=True):
            if s < quickest * (1 - WORTH):
                worth.append(k)
                quickest = s
        return Curve(group=self._groups[group].name, kept=kept, seconds=tuple(seconds), worth=tuple(worth))


def clock_of(anatomy: Anatomy, measure: Callable[[bytes, Mapping[str, NDArray[np.generic]]], float]) -> Clock:
    """A clock that builds the piece and runs it; what cannot be run alone counts as the rest does."""

    def clock(segment: Segment, widths: Sequence[int]) -> float:
        content, feeds = anatomy.piece(segment, dict(zip(segment.axes, widths, strict=True)))
        try:
            return measure(content, feeds)
        except ModelError:
            return 0.0

    return clock
