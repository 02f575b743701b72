"""Slots: an id for every position along an axis that pruning might remove.

Two positions that can only go together are *united*; a position that must stay is *frozen*.
A class of united slots that is not frozen is a prunable structure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Slot ids along one axis of a tensor, one for each index; an id may occur more than once.
Ids = NDArray[np.int64]


class SlotSpace:
    """All slots of a model: a union-find forest whose roots may carry a reason to stay."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    def mint(self, n: int) -> Ids:
        """Make ``n`` new slots, each its own class."""
        first = len(self._parent)
        self._parent.extend(range(first, first + n))
        return np.arange(first, first + n, dtype=np.int64)

    def unite(self, a: Ids, b: Ids) -> None:
        """Join the classes of ``a[i]`` and ``b[i]`` for every i; equal lengths."""
        for x, y in {(int(x), int(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)}:
            self._join(self._root(x), self._root(y))

    def freeze(self, ids: Ids, reason: str) -> None:
        """Keep these slots and all that are or will be united with them; the first reason stays."""
        for slot in {int(i) for i in ids.ravel()}:
            self._frozen.setdefault(self._root(slot), reason)

    def classes(self) -> tuple[Ids, dict[int, str]]:
        """The root of every slot, and why a root is frozen."""
        roots = np.fromiter((self._root(i) for i in range(len(self))), dtype=np.int64, count=len(self))
        return roots, dict(self._frozen)

    def _root(self, slot: int) -> int:
        parent = self._parent
        while parent[slot] != slot:
            parent[slot] = parent[parent[slot]]
            slot = parent[slot]
        return slot

    def _join(self, a: int, b: int) -> None:
        if a == b:
            return
        low, high = min(a, b), max(a, b)  # the smaller id leads: class order follows graph order
        self._parent[high] = low
        reason: Any = self._frozen.pop(high, None)
        if reason is not None:
            self._frozen.setdefault(low, reason)
