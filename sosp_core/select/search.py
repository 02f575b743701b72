"""The smallest share that costs no more quality than allowed, by bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

TRIES = 5
FINALS = 3
#: Shares this close to each other are one.
RESOLUTION = 0.02


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One share of the original that was tried.

    Attributes:
        keep: The share.
        drop: By how much the judged metric fell.
        final: After the whole fine-tuning, not a short one.
        allowed: Whether that is as little as was asked for.
    """

    keep: float
    drop: float
    final: bool
    allowed: bool


def bisect(drop_at: Callable[[float], float], most: float, least: float) -> list[Tried]:
    """Try shares between ``least`` and the whole, halving the interval in which the answer lies.

    Args:
        drop_at: What keeping so much costs in quality; taken to fall as more is kept.
        most: The drop that is allowed.
        least: The smallest share that can be reached.
    """
    low, high = least, 1.0
    tried: list[Tried] = []
    while len(tried) < TRIES and high - low > RESOLUTION:
        keep = (low + high) / 2
        drop = drop_at(keep)
        tried.append(Tried(keep=keep, drop=drop, final=False, allowed=drop <= most))
        low, high = (low, keep) if drop <= most else (keep, high)
    return tried


def verify(
    drop_at: Callable[[float], float], most: float, tried: Sequence[Tried], least: float
) -> list[Tried]:
    """Try the smallest allowed share in earnest; step back, half-way to the whole, while it misses.

    Args:
        drop_at: The same after the whole fine-tuning, which may recover more.
        most: The drop that is allowed.
        tried: What ``bisect`` found: nothing, if so little can go that all shares are one.
        least: The smallest share that can be reached.
    """
    keep = min((t.keep for t in tried if t.allowed), default=max((t.keep for t in tried), default=least))
    finals: list[Tried] = []
    while len(finals) < FINALS:
        drop = drop_at(keep)
        finals.append(Tried(keep=keep, drop=drop, final=True, allowed=drop <= most))
        if drop <= most:
            break
        keep = (keep + 1) / 2
    return finals
