"""Choices that no other choice beats."""

from __future__ import annotations

from collections.abc import Sequence

#: A drop this small is taken for none when one point of a sweep has to stand for all.
HARMLESS = 0.01


def unbeaten(latency: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """For each choice whether no other is at least as quick and as good, and better in one of both."""
    points = list(zip(latency, quality, strict=True))
    return [
        not any(t <= time and q >= good and (t < time or q > good) for t, q in points)
        for time, good in points
    ]


def recommended(latency: Sequence[float], drops: Sequence[float]) -> int:
    """The quickest choice that loses next to nothing; if all lose more, the one that loses least."""
    harmless = [i for i, drop in enumerate(drops) if drop <= HARMLESS]
    if harmless:
        return min(harmless, key=lambda i: latency[i])
    return min(range(len(drops)), key=lambda i: (drops[i], latency[i]))
