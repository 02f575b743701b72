"""The prunable structures of a model, as arrays over structure numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sosp_core.ops.flow import Place, Refusal

#: For each index along an axis the number of the structure it belongs to; -1 stays for ever.
Members = NDArray[np.int64]
#: One truth value for each structure: is it (still) in the network?
Alive = NDArray[np.bool_]

STAYS = -1


def kept_positions(members: Members, alive: Alive) -> NDArray[np.intp]:
    """Indices along an axis that remain."""
    return np.flatnonzero((members == STAYS) | alive[members])


def kept_count(members: Members, alive: Alive) -> int:
    """How many indices along an axis remain."""
    return int(np.count_nonzero((members == STAYS) | alive[members]))


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Where silencing acts: the axis of a tensor that some nodes sum over.

    Attributes:
        readers: (node, input position) of each node that reads through this gate.
        weights: For each reader the (initializer, axis) it multiplies the gated axis with; None
            where it multiplies with nothing stored.
    """

    value: str
    axis: int
    members: Members
    readers: tuple[tuple[str, int], ...]
    weights: tuple[tuple[str, int] | None, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The integer at ``place`` is the kept count of ``members``."""

    place: Place
    members: Members


@dataclass(frozen=True, kw_only=True)
class Term:
    """A cost that is a product of widths: ``coefficient · Π kept(factor)``."""

    coefficient: float
    factors: tuple[Members, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Structures that occur on the same axes, so that one costs what another costs.

    Attributes:
        name: The node whose width it is, for people.
        members: Structure numbers, ascending.
    """

    name: str
    members: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LayerWidth:
    """A weight-bearing node and the axis it makes.

    Attributes:
        fixed: Why its width stays for ever; empty if some of it may go.
    """

    node: str
    members: Members
    fixed: str = ""


@dataclass(frozen=True, kw_only=True)
class Structures:
    """Everything pruning may remove from one model.

    Attributes:
        count: Number of structures S; they are numbered 0..S-1 in graph order.
        slices: For each initializer, axis → members: what to cut out of it.
        axes: For each computed tensor, axis → members: which of its widths follow a plan.
        sizes: Integers of the graph that follow the widths.
        gates: Where masks act.
        groups: A partition of the structures.
        layers: Widths by node, for the report.
        macs: Terms whose sum is the multiply-accumulates of one sample.
        params: Terms whose sum is the number of weights.
        bytes: Terms whose sum is the bytes of all initializers.
        refusals: What stays, and why.
    """

    count: int
    slices: Mapping[str, Mapping[int, Members]]
    sizes: tuple[Size, ...]
    gates: tuple[Gate, ...]
    groups: tuple[Group, ...]
    layers: tuple[LayerWidth, ...]
    macs: tuple[Term, ...]
    params: tuple[Term, ...]
    bytes: tuple[Term, ...]
    refusals: tuple[Refusal, ...]
    axes: Mapping[str, Mapping[int, Members]] = field(default_factory=dict)

    def all_alive(self) -> Alive:
        """The mask that removes nothing."""
        return np.ones(self.count, dtype=np.bool_)

    def inventory(self) -> list[dict[str, Any]]:
        """Groups with their sizes, ready for JSON."""
        return [{"name": g.name, "structures": len(g.members)} for g in self.groups]
