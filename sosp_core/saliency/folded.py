"""The rows of a root as they come, in no more memory than there is room for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


class Folded:
    """``B [k, S]`` with ``E[BᵀB] = AᵀA`` for the rows of A, and ``B = A`` as long as A has no more than k.

    Row i of A is added to row ``i mod k`` of B, with a sign by chance from row k on. What two rows
    that share a place have in common then cancels on average; the variance of ``(BᵀB)_st`` is

        Σ over pairs i, j of one place  (A_is A_jt + A_js A_it)²  ≤  2 ‖a_s‖² ‖a_t‖² / k

    about, so that a correlation of structures is off by ``√(2/k)`` at most. Sums of many entries, as
    prices are, err no more than that relative to the lengths of what is summed. A dense random
    projection has the same variance, and frequent directions less but a bias; both cost k times
    as many operations as this, which costs one addition a number.

    Source: Charikar, Chen, Farach-Colton (2002), with places in turn instead of drawn.
    """

    def __init__(self, count: int, width: int, room: int, seed: int) -> None:
        """Make room.

        Args:
            count: Rows that may come, at most; what does not come takes no memory.
            width: Columns.
            room: Bytes there are for all of B, at least one row.
            seed: Draws the signs.
        """
        most = max(1, room // (width * np.dtype(np.float32).itemsize))
        # The system hands out pages of zeros as they are written to.
        self._places = np.zeros((min(count, most), width), np.float32)
        self._signs = np.random.default_rng(seed)
        self._seen = 0

    @property
    def rows(self) -> Rows:
        """B, of the rows so far."""
        return self._places[: self._seen]

    def add(self, rows: Rows) -> None:
        """Take in the next rows ``[n, S]`` of A."""
        for row in rows:
            turn, place = divmod(self._seen, len(self._places))
            if turn == 0:
                self._places[place] = row
            elif self._signs.random() < 0.5:
                self._places[place] -= row
            else:
                self._places[place] += row
            self._seen += 1
