"""Correlations of structures, ``AᵀA``, column by column: stored for groups, formed where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sosp_core.structures.structures import Group

#: Bytes that the matrices of all groups may take together.
ROOM = 2**29

#: By position among some members: the correlations of that one with all of them.
Column = Callable[[int], NDArray[np.float32]]


class Correlations:
    """Columns of ``AᵀA`` for the members of a group.

    Choosing within a group asks for its columns again after every removal anywhere: a product of all
    its columns once saves reading ``A [rows, S]`` for each of them. A matrix is made when first asked
    for, in the order that groups come, as long as there is room.
    """

    def __init__(self, rows: NDArray[np.float32], groups: Sequence[Group] = (), room: int = ROOM) -> None:
        """Of the columns of ``rows``, A.

        Args:
            rows: ``[R, S]``.
            groups: A partition of the structures, or of some of them.
            room: Bytes for the matrices of groups.
        """
        self._rows, self._groups, self._room = rows, groups, room
        self._group = np.full(rows.shape[1], -1)
        self._place = np.zeros(rows.shape[1], dtype=np.int64)
        for number, group in enumerate(groups):
            self._group[group.members] = number
            self._place[group.members] = np.arange(len(group.members))
        self._within: dict[int, NDArray[np.float32]] = {}

    def among(self, members: NDArray[np.int64]) -> Column:
        """Columns for some structures, cheap if all are of one group."""
        numbers = np.unique(self._group[members])
        within = self._matrix(int(numbers[0])) if len(numbers) == 1 and numbers[0] >= 0 else None
        if within is None:
            rows = self._rows[:, members]
            return lambda at: rows[:, at] @ rows
        places = self._place[members]
        return lambda at: within[places[at]][places]

    def _matrix(self, number: int) -> NDArray[np.float32] | None:
        if number not in self._within:
            members = self._groups[number].members
            if (size := 4 * len(members) ** 2) > self._room:
                return None
            self._room -= size
            rows = self._rows[:, members]
            self._within[number] = rows.T @ rows
        return self._within[number]
