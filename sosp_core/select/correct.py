"""Aim, measure, correct the aim: for a cost whose estimate is wrong by some per cent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Generic, TypeVar

from sosp_core.errors import TargetUnreachable

T = TypeVar("T")

TRIES = 6
MOST_AIMS = 24
STEP = 0.03
#: Near enough to stop; what is promised is ``PROMISED``, so that a second measurement may differ.
NEAR, PROMISED = 0.015, 0.03


@dataclass(frozen=True, kw_only=True)
class Attempt(Generic[T]):
    """One try.

    Attributes:
        aim: The estimate asked for, as a share of the target.
        reached: What was measured, as a share of the target.
    """

    aim: float
    reached: float
    result: T


def correct(
    make: Callable[[float], T],
    measure: Callable[[T], float],
    same: Callable[[T, T], bool],
    whole: float = float("inf"),
) -> list[Attempt[T]]:
    """Make and measure until the target is met, not passed by more than needed, or tries run out.

    Args:
        make: A result for an aim; the smaller the aim, the smaller what it measures, roughly.
        measure: What the result really is, as a share of the target.
        same: Whether two results are one: nothing lies between their aims.
        whole: An aim that asks for nothing; all lie below it.

    Raises:
        TargetUnreachable: By ``make``, at the first aim.
    """
    attempts: list[Attempt[T]] = []
    low, high = 0.0, whole  # aims known to fall below the target, and to exceed it
    aim = 1.0
    for _ in range(MOST_AIMS):
        try:
            result = make(aim)
        except TargetUnreachable:
            if not attempts:
                raise
            break
        known = next((a for a in attempts if same(result, a.result)), None)
        if known is None:
            attempts.append(Attempt(aim=aim, reached=measure(result), result=result))
        reached = attempts[-1].reached if known is None else known.reached
        low, high = (max(low, aim), high) if reached < 1 else (low, min(high, aim))
        if abs(reached - 1) <= NEAR or len(attempts) >= TRIES or high <= low * (1 + NEAR):
            break
        # A result that comes again says that the aim moved too little.
        aim *= 1 / reached if known is None else (1 - STEP if reached > 1 else 1 + STEP)
        if not low < aim < high:
            aim = sqrt(low * high)
    return attempts


def best(attempts: list[Attempt[T]]) -> Attempt[T]:
    """The one that uses most of what is allowed; if all exceed it, the one that does so least."""
    allowed = [a for a in attempts if a.reached <= 1 + PROMISED]
    near = [a for a in allowed if a.reached >= 1 - PROMISED]
    if near:
        return min(near, key=lambda a: abs(a.reached - 1))
    return max(allowed, key=lambda a: a.reached) if allowed else min(attempts, key=lambda a: a.reached)
