"""Find bottlenecks: what a global pruning hardly touches is what the network cannot do without.

Structures compete across the whole network, so the share that each group of them loses is a
measurement of how much of it is spare. A group is a bottleneck if it lost far less than others:

    (removed + ½) / (expected + ½)  <  threshold,        expected = share · structures

``share`` is what the network lost as a whole, or the most that the rules would have let the group
lose, if that is less. The halves (Jeffreys' prior of a rate) keep small groups honest: of one
that was expected to lose less than half a structure, losing none proves nothing. ``chance`` says
how surprising the count is: the probability that a random choice of as many structures would
have left the group at least as whole (a hypergeometric tail). It is evidence for people, not part
of the rule: after many groups, some are surprising by chance.

Source: section 4.3 of Nonnenmacher et al. (2022), arXiv:2110.11395, reads the same shares by eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp, lgamma
from typing import Any

import numpy as np

from sosp_core.structures.structures import Alive, Group, Structures

#: Added to what was counted and to what was expected.
PRIOR = 0.5


@dataclass(frozen=True, kw_only=True)
class GroupShare:
    """What one group lost.

    Attributes:
        name: Of the group.
        nodes: Weight-bearing nodes whose width it is, or is part of.
        structures: How many it had.
        removed: How many went.
        expected: How many would have gone at the network's share.
        chance: Probability that a random choice would have removed no more.
        bottleneck: By the rule above.
    """

    name: str
    nodes: tuple[str, ...]
    structures: int
    removed: int
    expected: float
    chance: float
    bottleneck: bool

    @property
    def share(self) -> float:
        """Of its structures."""
        return self.removed / self.structures

    def to_json(self) -> dict[str, Any]:
        """All fields and the share, ready for JSON."""
        return {**asdict(self), "nodes": list(self.nodes), "share": self.share}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Shares by group, in the order of the groups; without those about which something else decided.

    Attributes:
        share: Of all of their structures that went.
        threshold: Of the rule.
        numbers: Of the groups, among all.
    """

    share: float
    threshold: float
    groups: tuple[GroupShare, ...]
    numbers: tuple[int, ...]

    @property
    def bottlenecks(self) -> tuple[int, ...]:
        """Numbers of the groups that are bottlenecks."""
        return tuple(n for n, group in zip(self.numbers, self.groups, strict=True) if group.bottleneck)

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON; shares from 0 to 1."""
        groups = [group.to_json() for group in self.groups]
        return {"share": self.share, "threshold": self.threshold, "groups": groups}


def diagnose(structures: Structures, alive: Alive, floors: Mapping[int, int], threshold: float) -> Diagnosis:
    """Read the shares off a global pruning.

    Args:
        structures: Of the network.
        alive: What a pruning that spared no group left.
        floors: The fewest structures that a group had to keep, by its number; of those that are not
            listed nothing is read.
        threshold: Of what was expected to go; a group that lost less of it is a bottleneck.
    """
    groups = {number: structures.groups[number] for number in sorted(floors)}
    total = sum(len(group.members) for group in groups.values())
    gone = sum(_removed(group, alive) for group in groups.values())
    shares = tuple(
        _read(structures, group, alive, floors[number], (gone, total), threshold)
        for number, group in groups.items()
    )
    return Diagnosis(share=gone / max(total, 1), threshold=threshold, groups=shares, numbers=tuple(groups))


def _read(
    structures: Structures, group: Group, alive: Alive, floor: int, of_all: tuple[int, int], threshold: float
) -> GroupShare:
    """A group's share beside that of all: how many went, and out of how many."""
    n, (gone, total) = len(group.members), of_all
    removed = _removed(group, alive)
    expected = min(gone / total * n, float(n - floor))
    return GroupShare(
        name=group.name,
        nodes=_nodes(structures, group),
        structures=n,
        removed=removed,
        expected=expected,
        chance=_at_most(removed, n, gone, total),
        bottleneck=(removed + PRIOR) / (expected + PRIOR) < threshold,
    )


def _removed(group: Group, alive: Alive) -> int:
    return int(np.count_nonzero(~alive[group.members]))


def _nodes(structures: Structures, group: Group) -> tuple[str, ...]:
    touched = (layer.node for layer in structures.layers if np.isin(layer.members, group.members).any())
    return tuple(dict.fromkeys(touched))


def _at_most(k: int, n: int, gone: int, total: int) -> float:
    """Probability that of ``gone`` out of ``total``, drawn at random, at most ``k`` are of these ``n``."""

    def ways(of: int, out_of: int) -> float:
        return lgamma(out_of + 1) - lgamma(of + 1) - lgamma(out_of - of + 1)

    lowest = max(0, gone - (total - n))
    terms = (ways(i, n) + ways(gone - i, total - n) - ways(gone, total) for i in range(lowest, k + 1))
    return min(1.0, sum(exp(term) for term in terms))
