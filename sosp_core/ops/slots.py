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
        if a.size != b.size:
            raise ValueError(f"{a.size} slots cannot be united with {b.size}")
        # Flattened maps repeat each pair once a pixel: join every distinct pair once.
        pairs = np.unique(a.ravel() * len(self) + b.ravel())
        for x, y in zip((pairs // len(self)).tolist(), (pairs % len(self)).tolist(), strict=True):
            self._join(self._root(x), self._root(y))

    def freeze(self, ids: Ids, reason: str) -> None:
        """Keep these slots and all that are or will be united with them; the first reason stays."""
        for slot in {int(i) for i in ids.ravel()}:
            self._frozen.setdefault(self._root(slot), reason)

    def roots(self, ids: Ids) -> Ids:
        """The present class of each slot."""
        slots, inverse = np.unique(ids, return_inverse=True)
        found = np.fromiter((self._root(int(i)) for i in slots), dtype=np.int64, count=len(slots))
        return np.asarray(found[inverse].reshape(ids.shape))

    def same(self, a: Ids, b: Ids) -> bool:
        """Whether both hold every class equally often, so that equally many are kept whatever goes."""
        return a.size == b.size and np.array_equal(
            np.sort(self.roots(a.ravel())), np.sort(self.roots(b.ravel()))
        )

    def quotient(self, ids: Ids, n: int) -> Ids | None:
        """Slots of which ``ids`` holds every class ``n`` times as often; None if there are none."""
        found, times = np.unique(self.roots(ids), return_counts=True)
        return None if n < 1 or bool((times % n).any()) else np.repeat(found, times // n)

    def is_free(self, ids: Ids) -> bool:
        """Whether some of these slots may still go."""
        return any(int(root) not in self._frozen for root in np.unique(self.roots(ids)))

    def choices(self, joint: Ids, axis: int) -> int:
        """How many free classes are left along ``axis`` if ``joint`` is united over its other axes."""
        rows = np.moveaxis(self.roots(joint), axis, 0).reshape(joint.shape[axis], -1)
        leader = list(range(len(rows)))

        def lead(row: int) -> int:
            while leader[row] != row:
                row = leader[row]
            return row

        first: dict[int, int] = {}
        held: set[int] = set()
        for number, row in enumerate(rows):
            for root in np.unique(row).tolist():
                leader[lead(number)] = lead(first.setdefault(root, number))
                if root in self._frozen:
                    held.add(number)
        return len({lead(i) for i in range(len(rows))} - {lead(i) for i in held})

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
