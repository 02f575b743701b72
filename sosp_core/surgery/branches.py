"""Which groups may lose their last structure: those whose branch can vanish beside a residual connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.convert.network import survey
from sosp_core.convert.table import Compute
from sosp_core.ir.view import matches
from sosp_core.runtime.observe import Shapes
from sosp_core.structures.structures import Group, Structures
from sosp_core.surgery.vanish import Remains, Unsettled, empty_tensors, remains


@dataclass(frozen=True, kw_only=True)
class Branch:
    """What goes with the last structure of a group.

    Attributes:
        group: Its number.
        falls: Numbers of other groups that nothing reads any more.
        nodes: Names of the nodes that go.
    """

    group: int
    falls: tuple[int, ...]
    nodes: frozenset[str]


def find_branches(
    model: ir.Model, structures: Structures, shapes: Shapes, stay: Sequence[str] = ()
) -> dict[int, Branch]:
    """Try every group by itself, and all together; by number those that may go altogether.

    A branch may vanish where it joins a tensor that has the full shape of the sum and that lives
    whatever else vanishes: then any of them may vanish, in any company.

    Args:
        model: The original.
        structures: Of it.
        shapes: Observed in it.
        stay: Patterns of nodes that have to stay, see ``ir.view.matches``.

    Cost: a walk over the graph for each group; no forward pass.
    """
    return _Trials(model, structures, shapes, stay).branches()


class _Trials:
    def __init__(self, model: ir.Model, structures: Structures, shapes: Shapes, stay: Sequence[str]) -> None:
        self._graph, self._structures, self._shapes = model.graph, structures, shapes
        self._computes: Mapping[str, Compute] = survey(model).computes
        self._whole = remains(model.graph, frozenset(), self._computes)
        self._stay = {n for n in self._whole.nodes if any(matches(n, pattern) for pattern in stay)}

    def branches(self) -> dict[int, Branch]:
        alone: dict[int, Remains] = {}
        for number in range(len(self._structures.groups)):
            left = self._without([number])
            if left is not None and all(self._is_residual(*join) for join in left.joins):
                alone[number] = left
        together = self._in_company(alone)
        return {number: self._branch(number, alone[number]) for number in together}

    def _in_company(self, alone: Mapping[int, Remains]) -> list[int]:
        """As many of the groups as may vanish in any company, the first ones first."""
        if self._agree(alone, alone):
            return list(alone)
        chosen: list[int] = []
        for number in alone:
            if self._agree([*chosen, number], alone):
                chosen.append(number)
        return chosen

    def _agree(self, numbers: Collection[int], alone: Mapping[int, Remains]) -> bool:
        """Whether all of them may go, and what each of them joins lives on or goes, too."""
        left = self._without(numbers)
        beside = [n.inputs[1 - at] for number in numbers for n, at in alone[number].joins]
        return left is not None and not any(v is None or v.name in left.settled for v in beside)

    def _without(self, numbers: Collection[int]) -> Remains | None:
        alive = self._structures.all_alive()
        for number in numbers:
            alive[self._structures.groups[number].members] = False
        try:
            left = remains(self._graph, empty_tensors(self._structures, alive), self._computes)
        except Unsettled:
            return None
        kept = left.feeds == self._whole.feeds and self._stay <= left.nodes
        return left if kept and left.joins else None

    def _is_residual(self, join: ir.Node, position: int) -> bool:
        """Whether what a settled operand meets has all the entries of the result."""
        other = join.inputs[1 - position]
        return other is not None and self._shapes.of(other) == self._shapes.of(join.outputs[0])

    def _branch(self, number: int, left: Remains) -> Branch:
        groups = self._structures.groups
        falls = [h for h, group in enumerate(groups) if h != number and not self._is_read(group, left)]
        gone = {node.name or "" for node in self._whole.nodes - left.nodes}
        return Branch(group=number, falls=tuple(falls), nodes=frozenset(gone))

    def _is_read(self, group: Group, left: Remains) -> bool:
        """Whether some weight that is still read holds structures of a group."""
        slices = self._structures.slices
        held = (m for name in left.weights & slices.keys() for m in slices[name].values())
        return any(np.isin(group.members[:1], members).any() for members in held)
