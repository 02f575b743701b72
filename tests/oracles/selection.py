"""Selection by trying every possibility: slow, obvious, and independent of the greedy code."""

from __future__ import annotations

import numpy as np


def cheapest_first(scores: np.ndarray, gains: np.ndarray, must_free: float) -> set[int]:
    """Independent structures in order of price (ties by number) until enough is freed.

    Then those that turn out not to be needed are given back, the dearest first.
    """
    order = sorted(range(len(scores)), key=lambda s: (scores[s], s))
    chosen: list[int] = []
    while sum(gains[t] for t in chosen) < must_free:
        chosen.append(order[len(chosen)])
    for s in reversed(chosen.copy()):
        if sum(gains[t] for t in chosen if t != s) >= must_free:
            chosen.remove(s)
    return set(chosen)
