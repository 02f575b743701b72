"""What a plan may not do: floors, ceilings and widths of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from sosp_core.structures.structures import Group


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The fewest and the most structures that one group may keep, of the ``whole`` it has."""

    whole: int
    fewest: int | None = None
    most: int | None = None

    def eased(self, share: float) -> Bounds:
        """A ceiling on the way from the whole group to the one that is asked for."""
        if self.most is None:
            return self
        return replace(self, most=self.whole - int((self.whole - self.most) * share))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a plan may not do.

    Attributes:
        round_to: Groups shrink to multiples of this, as far as they were ones.
        max_layer_ratio: Largest share a group may lose, unless its bounds say otherwise; it never
            loses its last structure, unless it is one of ``falls``.
        bounds: By a group's first structure.
        widths: The only numbers a group may keep, widest first, by its first structure; groups
            that are not listed follow ``round_to``.
        falls: Groups that may go altogether, in one step from the fewest they would keep otherwise;
            for each those that nothing reads without it. All by a group's first structure.
    """

    round_to: int = 1
    max_layer_ratio: float = 1.0
    bounds: Mapping[int, Bounds] = field(default_factory=dict)
    widths: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    falls: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def floor(self, group: Group) -> int:
        """The fewest structures the group may keep: none, or a width on the grid, if its bounds let one."""
        return 0 if self.vanishes(group) else self.narrowest(group)

    def narrowest(self, group: Group) -> int:
        """The fewest structures the group may keep, if it keeps any."""
        ceiling = self.ceiling(group)
        rounded = self._rounded(group, self._fewest(group))
        return rounded if rounded <= ceiling else ceiling

    def _fewest(self, group: Group) -> int:
        n = len(group.members)
        bounds = self._bounds(group)
        if bounds.fewest is not None:
            return bounds.fewest
        return min(max(1, n - int(n * self.max_layer_ratio + 1e-9)), self.ceiling(group))

    def _rounded(self, group: Group, fewest: int) -> int:
        """The least width on the grid that is not below ``fewest``."""
        n = len(group.members)
        if (widths := self.widths.get(_key(group))) is not None:
            return min((w for w in widths if w >= fewest), default=n)
        return min(n, ceil(fewest / self.round_to) * self.round_to)

    def vanishes(self, group: Group) -> bool:
        """Whether the group may go altogether."""
        return _key(group) in self.falls

    def falling(self, groups: Sequence[Group], number: int) -> list[int]:
        """Numbers of the groups that nothing reads without this one."""
        fallen = self.falls.get(_key(groups[number]), frozenset())
        return [g for g, group in enumerate(groups) if _key(group) in fallen]

    def returning(self, groups: Sequence[Group], kept: NDArray[np.int64], number: int) -> list[int]:
        """Numbers of the groups that have to come back with one: for nobody would read it, or it nobody.

        Args:
            groups: The partition of the structures.
            kept: What each of them keeps.
            number: Of the group; it comes first.
        """
        gone = [g for g in range(len(groups)) if kept[g] == 0]
        found = [number]
        for g in found:  # which grows on the way
            needed = [h for h in gone if g in self.falling(groups, h)]
            if kept[g] == 0:
                needed += [h for h in self.falling(groups, g) if h in gone and not self.vanishes(groups[h])]
            found += [h for h in dict.fromkeys(needed) if h not in found]
        return found

    def ceiling(self, group: Group) -> int:
        """The most structures the group may keep."""
        most = self._bounds(group).most
        return len(group.members) if most is None else most

    def bounded(self, group: Group) -> bool:
        """Whether the recipe says anything about the group's width."""
        return _key(group) in self.bounds

    def capped(self, group: Group) -> bool:
        """Whether it says how much of it may stay, so that none may be added."""
        return self._bounds(group).most is not None

    def chunk(self, kept: int) -> int:
        """How many structures go in one step from a group that keeps ``kept``."""
        return kept % self.round_to or self.round_to

    def steps(self, group: Group, kept: int) -> list[int]:
        """How many structures may go next from a group that keeps ``kept``, fewest first.

        One number where widths follow ``round_to``; where they are listed, every one below: a
        narrower width may save something where the next one does not.
        """
        floor = self.narrowest(group)
        if kept <= floor:
            return [kept] if kept and self.vanishes(group) else []
        if (widths := self.widths.get(_key(group))) is None:
            return [kept - max(kept - self.chunk(kept), floor)]
        lower = sorted((w for w in widths if floor <= w < kept), reverse=True)
        return [kept - w for w in lower or [floor]]

    def wider(self, group: Group, kept: int) -> list[int]:
        """The widths on the grid above ``kept``, widest first."""
        n, narrowest = len(group.members), self.narrowest(group)
        grid = self.widths.get(_key(group)) or (n, *range(n - self.chunk(n), 0, -self.round_to))
        return [w for w in grid if max(kept + 1, narrowest) <= w <= self.ceiling(group)]

    def eased(self, share: float) -> Rules:
        """Ceilings a share of the way down, so that rounds get there step by step."""
        return replace(self, bounds={key: b.eased(share) for key, b in self.bounds.items()})

    def on_rest(self, groups: Sequence[Group], rest: Sequence[Group], share: float) -> Rules:
        """The same rules for what a cut has left of ``groups``, with ceilings a share of the way down.

        Shares and widths of the recipe mean the original's; as numbers of structures they hold for
        whatever is left of it. Groups go altogether at the end of the way only: what is left after a
        cut is told apart by its structures, and of those there would be none.

        Args:
            groups: Of the original.
            rest: What is left of each, never nothing.
            share: Of the way, 1.0 at its end.
        """
        eased = self.eased(share)
        bounds = {
            _key(left): Bounds(
                whole=len(left.members),
                fewest=min(self.narrowest(group), len(left.members)),
                most=min(eased.ceiling(group), len(left.members)),
            )
            for group, left in zip(groups, rest, strict=True)
        }
        keys = {_key(group): _key(left) for group, left in zip(groups, rest, strict=True)}
        falls = {keys[key]: frozenset(keys[f] for f in fallen) for key, fallen in self.falls.items()}
        return replace(self, bounds=bounds, falls=falls if share == 1.0 else {})

    def _bounds(self, group: Group) -> Bounds:
        return self.bounds.get(_key(group)) or Bounds(whole=len(group.members))


def _key(group: Group) -> int:
    return int(group.members[0])
