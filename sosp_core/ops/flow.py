"""Slots on their way through a graph, and what the rules note down as they pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import label
from sosp_core.ops.slots import Ids, SlotSpace
from sosp_core.runtime.observe import Shapes

#: The structured axes of a tensor: slot ids along each. Axes without structure are absent.
Slots = Mapping[int, Ids]
#: The same where an axis was cut in several: a *joint*, one array of ids over all of them.
Joints = Mapping[tuple[int, ...], Ids]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A node that sums over a structured axis of an input: where a gate makes masking exact.

    Attributes:
        weight: (initializer, axis) that this axis is summed against; None where nothing stored is.
    """

    value: str
    node: str
    position: int
    axis: int
    ids: Ids
    weight: tuple[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an integer stands: attribute ``name`` of a node, or its input ``position``."""

    node: str
    name: str | None = None
    position: int | None = None
    index: int | None = None  # None: the attribute is a single integer


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """The integer at ``place`` is the number of slots of ``ids`` that are kept."""

    place: Place
    ids: Ids


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Multiply-accumulates of a node, per sample: ``coefficient · Π kept(factor)``.

    Attributes:
        producer: Slots that this node makes, or None if none of its own.
    """

    node: str
    coefficient: float
    factors: tuple[Ids, ...]
    produces: Ids | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something that stays as it is, and why."""

    node: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


@dataclass(eq=False)
class Flow:
    """The state that rules read and extend, node by node in topological order.

    A tensor has to stay rectangular, so a joint carries structure along one of its axes only:
    whole heads go, or a dimension goes in every head. The first rule that treats the axes
    differently decides (``spare``, ``of``); what is still open at the end follows the axis that
    leaves most to choose from (``finish``).
    """

    opset: int
    shapes: Shapes
    space: SlotSpace = field(default_factory=SlotSpace)
    slots: dict[str, dict[tuple[int, ...], Ids]] = field(default_factory=dict)
    bindings: dict[str, dict[int, Ids]] = field(default_factory=dict)
    bound_uses: set[tuple[str, int, int]] = field(default_factory=set)
    readings: list[Reading] = field(default_factory=list)
    sizes: list[SizeRule] = field(default_factory=list)
    pinned: set[Place] = field(default_factory=set)
    layers: list[Layer] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The observed shape of a value."""
        return self.shapes.of(value)

    def input_shape(self, node: ir.Node, position: int) -> tuple[int, ...]:
        """The observed shape of an input; empty for one that the node leaves out."""
        value = node.inputs[position]
        return () if value is None else self.shape(value)

    def peek(self, value: ir.Value | None) -> dict[tuple[int, ...], Ids]:
        """Slots of a value as they are, joints included; empty for what carries none."""
        return {} if value is None else dict(self.slots.get(value.name or "", {}))

    def of(self, value: ir.Value | None) -> dict[int, Ids]:
        """Slots of a value by single axis: a joint is united over all its axes but the best."""
        for axes, ids in self.peek(value).items():
            if value is not None and len(axes) > 1:
                self.spare(value, set(axes) - {self._best(axes, ids)})
        return {axes[0]: ids for axes, ids in self.peek(value).items()}

    def spare(self, value: ir.Value | None, axes: Collection[int]) -> None:
        """Keep these axes whole where a joint can carry its structure along others."""
        for joint, ids in self.peek(value).items():
            given = [a for a in joint if a not in axes]
            if value is None or len(joint) == 1 or len(given) == len(joint):
                continue
            given = given or [self._best(joint, ids)]
            united, shape = self._unite_over(ids, [joint.index(a) for a in given])
            held = self.slots[value.name or ""]
            del held[joint]
            held[tuple(given)] = united.reshape(shape)

    def _best(self, axes: tuple[int, ...], ids: Ids) -> int:
        """The axis of a joint that leaves most to choose from; the widest, if several do."""
        worth = [(self.space.choices(ids, k), n, -k) for k, n in enumerate(ids.shape)]
        return axes[-max(worth)[2]]

    def _unite_over(self, joint: Ids, kept: list[int]) -> tuple[Ids, tuple[int, ...]]:
        shape = tuple(joint.shape[k] for k in kept)
        rows = np.moveaxis(joint, kept, range(len(kept))).reshape(int(np.prod(shape)), -1)
        if rows.shape[1] > 1:
            self.space.unite(np.repeat(rows[:, 0], rows.shape[1] - 1), rows[:, 1:])
        return np.ascontiguousarray(rows[:, 0]), shape

    def emit(self, value: ir.Value, slots: Slots | Joints) -> None:
        """Say which slots a node's output carries. An axis of one position has nothing to give."""
        carried: dict[tuple[int, ...], Ids] = {}
        for axes, ids in slots.items():
            if ids.size == 1:
                self.space.freeze(ids, "the only channel of its axis")
            carried[(axes,) if isinstance(axes, int) else axes] = ids
        if carried:
            self.slots[value.name or ""] = carried

    def finish(self, values: Collection[ir.Value]) -> None:
        """Decide the joints that are still open, then do what waited for that."""
        for value in values:
            self.of(value)
        for act in self.later:
            act()

    def bind(self, node: ir.Node, position: int, axis: int, ids: Ids) -> None:
        """Tie index i along ``axis`` of an initializer input to slot ``ids[i]``."""
        value = node.inputs[position]
        name = "" if value is None else value.name or ""
        known = self.bindings.setdefault(name, {})
        if axis in known:
            self.space.unite(known[axis], ids)
        else:
            known[axis] = ids
        self.bound_uses.add((node.name or "", position, axis))

    def read(self, node: ir.Node, position: int, axis: int, against: tuple[int, int] | None = None) -> None:
        """Note that ``node`` sums over this axis of its input, if it is structured.

        Args:
            node: The reader.
            position: Of the input that it reads.
            axis: Of that input.
            against: (position, axis) of the stored weight that each entry is multiplied with.
        """
        value = node.inputs[position]
        ids = self.peek(value).get((axis,))
        if value is not None and ids is not None:
            weight = None if against is None else node.inputs[against[0]]
            self.readings.append(
                Reading(
                    value=value.name or "",
                    node=node.name or "",
                    position=position,
                    axis=axis,
                    ids=ids,
                    weight=None if weight is None or against is None else (weight.name or "", against[1]),
                )
            )

    def refuse(self, node: ir.Node, reason: str, *ids: Ids) -> None:
        """Freeze slots (by default all that the node's inputs carry) and say why."""
        refused = ids or tuple(i for v in node.inputs for i in self.peek(v).values())
        if not refused:
            return
        for some in refused:
            self.space.freeze(some, f"{label(node)}: {reason}")
        self.refusals.append(Refusal(node=label(node), reason=reason))

    def unite_over(self, joint: Ids, axis: int) -> Ids:
        """Unite a joint id array over all axes but one; the ids that remain along ``axis``."""
        return self._unite_over(joint, [axis])[0]
