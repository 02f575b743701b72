"""Find the prunable structures of a model by sending slots through its graph.

Cost: one Python call a node, plus arrays of the widths involved; no forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

import sosp_core.ops  # noqa: F401  (fills the rule table)
from sosp_core.ir.view import matches, opset, values
from sosp_core.ops.flow import Flow, Reading
from sosp_core.ops.integers import freeze_escapes
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules
from sosp_core.runtime.observe import Shapes
from sosp_core.structures.storage import is_weight, itemsize
from sosp_core.structures.structures import (
    STAYS,
    Gate,
    Group,
    LayerWidth,
    Members,
    Size,
    Structures,
    Term,
)


def discover(model: ir.Model, shapes: Shapes, protect: Sequence[str] = ()) -> Structures:
    """Find all structures, with everything that has to be cut when one of them goes.

    Args:
        model: A normalised model.
        shapes: Observed shapes of its tensors.
        protect: Patterns of nodes, see ``ir.view.matches``; the widths these nodes make stay.
    """
    flow = Flow(opset=opset(model), shapes=shapes)
    for node in model.graph:
        _follow(node, flow)
    flow.finish(list(values(model.graph)))
    freeze_escapes(model.graph, flow)
    _freeze_outputs(model, flow)
    _freeze_unbound_uses(model, flow)
    _freeze_protected(model, flow, protect)
    return _Numbering.of(flow).structures(model)


def _follow(node: ir.Node, flow: Flow) -> None:
    if any(
        attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attr in node.attributes.values()
    ):
        flow.refuse(node, "it has a sub-graph")
        return
    rule = rules.find(node)
    if rule is None:
        flow.refuse(node, f"no rule follows channels through {node.op_type}")
        return
    rule(node, flow)


def _freeze_outputs(model: ir.Model, flow: Flow) -> None:
    for value in model.graph.outputs:
        for ids in flow.of(value).values():
            flow.space.freeze(ids, f"reaches the output {value.name!r}")
        for ids in flow.bindings.get(value.name or "", {}).values():
            flow.space.freeze(ids, f"the weight {value.name!r} is an output")


def _freeze_unbound_uses(model: ir.Model, flow: Flow) -> None:
    """A weight shared with a node that cannot shrink with it has to stay whole."""
    for name, axes in flow.bindings.items():
        value = model.graph.initializers.get(name)
        for node, position in value.uses() if value is not None else ():
            for axis, ids in axes.items():
                if (node.name or "", position, axis) not in flow.bound_uses:
                    reason = f"its weight {name!r} is shared with other layers that keep their width"
                    flow.refuse(node, reason, ids)


def _freeze_protected(model: ir.Model, flow: Flow, protect: Sequence[str]) -> None:
    for node in model.graph:
        if any(matches(node, pattern) for pattern in protect):
            for output in node.outputs:
                if carried := flow.of(output):
                    flow.refuse(node, "protected by the recipe", *carried.values())


@dataclass(frozen=True)
class _Numbering:
    """Slots to structure numbers."""

    flow: Flow
    structure_of: Ids
    count: int
    roots: Ids
    frozen: Mapping[int, str]

    @classmethod
    def of(cls, flow: Flow) -> _Numbering:
        """Number the classes that are not frozen and that some weight or size depends on."""
        roots, frozen = flow.space.classes()
        tied = [ids for axes in flow.bindings.values() for ids in axes.values()]
        tied += [rule.ids for rule in flow.sizes]
        used = np.unique(roots[np.concatenate(tied)]) if tied else np.empty(0, np.int64)
        free = np.array([r for r in used if int(r) not in frozen], dtype=np.int64)
        number = np.full(len(roots), STAYS, dtype=np.int64)
        number[free] = np.arange(len(free))
        return cls(flow, number[roots] if len(roots) else roots, len(free), roots, frozen)

    def members(self, ids: Ids) -> Members:
        """The structure number of each slot."""
        return self.structure_of[ids]

    def structures(self, model: ir.Model) -> Structures:
        """Assemble the result."""
        flow = self.flow
        slices = {
            name: {axis: self.members(ids) for axis, ids in axes.items() if self._prunable(ids)}
            for name, axes in flow.bindings.items()
        }
        slices = {name: axes for name, axes in slices.items() if axes}
        return Structures(
            count=self.count,
            slices=slices,
            sizes=tuple(
                Size(place=r.place, members=self.members(r.ids)) for r in flow.sizes if self._prunable(r.ids)
            ),
            gates=self._gates(),
            groups=self._groups(),
            layers=tuple(
                self._width(layer.node, layer.produces) for layer in flow.layers if layer.produces is not None
            ),
            macs=tuple(
                Term(coefficient=c.coefficient, factors=tuple(self.members(f) for f in c.factors))
                for c in flow.layers
            ),
            params=tuple(self._storage(model, slices, lambda v: 1.0 if is_weight(v) else 0.0)),
            bytes=tuple(self._storage(model, slices, itemsize)),
            refusals=tuple(dict.fromkeys(flow.refusals)),
            axes=self._tensor_axes(),
        )

    def _width(self, node: str, ids: Ids) -> LayerWidth:
        reasons = (self.frozen.get(int(root)) for root in self.roots[ids].ravel())
        fixed = "" if self._prunable(ids) else next(filter(None, reasons), "nothing depends on its width")
        return LayerWidth(node=node, members=self.members(ids), fixed=fixed)

    def _tensor_axes(self) -> dict[str, dict[int, Members]]:
        return {
            name: {axes[0]: self.members(ids) for axes, ids in carried.items() if self._prunable(ids)}
            for name, carried in self.flow.slots.items()
        }

    def _prunable(self, ids: Ids) -> bool:
        return bool((self.structure_of[ids] != STAYS).any())

    def _gates(self) -> tuple[Gate, ...]:
        readings: dict[tuple[str, int], list[Reading]] = {}
        for reading in self.flow.readings:
            if self._prunable(reading.ids):
                readings.setdefault((reading.value, reading.axis), []).append(reading)
        return tuple(
            Gate(
                value=value,
                axis=axis,
                members=self.members(who[-1].ids),
                readers=tuple((r.node, r.position) for r in who),
                weights=tuple(r.weight for r in who),
            )
            for (value, axis), who in readings.items()
        )

    def _groups(self) -> tuple[Group, ...]:
        """Structures with the same multiplicity on the same axes share a group."""
        axes = {self.members(ids).tobytes(): self.members(ids) for ids in self._axes()}
        signature: list[list[tuple[int, int]]] = [[] for _ in range(self.count)]
        for number, members in enumerate(axes.values()):
            found, times = np.unique(members[members != STAYS], return_counts=True)
            for structure, multiplicity in zip(found, times, strict=True):
                signature[structure].append((number, int(multiplicity)))
        grouped: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for structure, key in enumerate(signature):
            grouped.setdefault(tuple(key), []).append(structure)
        names = self._names()
        return tuple(
            Group(name=names[members[0]], members=np.array(members, dtype=np.int64))
            for members in grouped.values()
        )

    def _axes(self) -> Iterable[Ids]:
        for axes in self.flow.slots.values():
            yield from axes.values()
        for bound in self.flow.bindings.values():
            yield from bound.values()

    def _names(self) -> dict[int, str]:
        """The first node that makes each structure; padding has no weights and is named as such."""
        names: dict[int, str] = {}
        for layer in self.flow.layers:
            if layer.produces is not None:
                for structure in self.members(layer.produces):
                    names.setdefault(int(structure), layer.node)
        for rule in self.flow.sizes:
            for structure in self.members(rule.ids):
                names.setdefault(int(structure), rule.place.node)
        for name, axes in self.flow.bindings.items():
            for ids in axes.values():
                for structure in self.members(ids):
                    names.setdefault(int(structure), name)
        return names

    def _storage(
        self,
        model: ir.Model,
        slices: dict[str, dict[int, Members]],
        weigh: Callable[[ir.Value], float],
    ) -> Iterable[Term]:
        fixed = 0.0
        for name, value in model.graph.initializers.items():
            unit, dims = weigh(value), self.flow.shape(value)
            cut = slices.get(name, {})
            rest = unit * float(np.prod([n for axis, n in enumerate(dims) if axis not in cut]))
            if cut:
                yield Term(coefficient=rest, factors=tuple(cut.values()))
            else:
                fixed += rest
        yield Term(coefficient=fixed, factors=())
