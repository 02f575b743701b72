"""Selection by trying every possibility: slow, obvious, and independent of the greedy code."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np


def cheapest_first(scores: np.ndarray, gains: np.ndarray, must_free: float) -> set[int]:
    """Independent structures in order of price (ties by number) until enough is freed."""
    order = sorted(range(len(scores)), key=lambda s: (scores[s], s))
    chosen: set[int] = set()
    for s in order:
        if sum(gains[t] for t in chosen) >= must_free:
            break
        chosen.add(s)
    return chosen


def least_total(costs: Sequence[Sequence[float]]) -> float:
    """The smallest sum of one entry from each row, by trying all."""
    return min(sum(choice) for choice in product(*costs))
