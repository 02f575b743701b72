"""The structures of a slim model, derived from those of the model that it was cut out of.

Looking for them again would find less: a layer that keeps a single channel cannot be told from one
that is broadcast. What was kept says which is which: every number of the slim model stands for one of
the original's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sosp_core.structures.structures import STAYS, Alive, Members, Structures, Term, kept_positions


def restrict(structures: Structures, alive: Alive) -> Structures:
    """What is left of ``structures`` once the model has been cut, numbered anew in the same order.

    Args:
        structures: Of the model before the cut.
        alive: The plan; it keeps something of every group.
    """
    if not structures.count:
        return structures
    numbers = np.where(alive, np.cumsum(alive) - 1, STAYS)

    def left(members: Members) -> Members:
        kept = members[kept_positions(members, alive)]
        return np.where(kept == STAYS, STAYS, numbers[kept])

    def by_axis(axes: Mapping[int, Members]) -> dict[int, Members]:
        return {axis: left(members) for axis, members in axes.items()}

    def terms(some: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(replace(term, factors=tuple(left(f) for f in term.factors)) for term in some)

    return replace(
        structures,
        count=int(alive.sum()),
        slices={name: by_axis(axes) for name, axes in structures.slices.items()},
        axes={name: by_axis(axes) for name, axes in structures.axes.items()},
        sizes=tuple(replace(size, members=left(size.members)) for size in structures.sizes),
        gates=tuple(replace(gate, members=left(gate.members)) for gate in structures.gates),
        groups=tuple(replace(group, members=left(group.members)) for group in structures.groups),
        layers=tuple(replace(layer, members=left(layer.members)) for layer in structures.layers),
        macs=terms(structures.macs),
        params=terms(structures.params),
        bytes=terms(structures.bytes),
    )


def compose(alive: Alive, later: Alive) -> Alive:
    """One plan for two cuts: ``later`` is about the structures that ``alive`` kept."""
    both = alive.copy()
    both[alive] = later
    return both
