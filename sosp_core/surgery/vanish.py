"""Take whole branches out of a graph: those whose inner width is nothing any more.

Who sums over nothing answers with its bias, and so all that follows, up to where the branch joins
a living tensor, is *settled*: known before any input is. The join keeps it as a stored operand,
``y = x + c``, or falls away where c is zero; whatever only fed the branch goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from sosp_core.convert.table import Compute
from sosp_core.ir.view import constant, inputs, is_float, label
from sosp_core.structures.structures import Alive, Structures, kept_count
from sosp_core.surgery.settled import LAYOUTS, Operands, settle, sum_of_nothing

#: Where a settled tensor may meet a living one.
JOINS = frozenset({"Add", "Sub", "Mul", "Div"})
#: On a stored operand of a join: the tensor of the original that it stands for.
STANDS_FOR = "sosp.stands_for"


class Unsettled(ValueError):
    """A branch cannot vanish: something that stays needs what it makes."""


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What is left of a graph without some branches.

    Attributes:
        settled: Tensors known before any input is, in the form of ``surgery.settled``.
        joins: (join, input position) of each settled operand of a node that stays.
        nodes: Those that stay.
        feeds: Graph inputs that the outputs still depend on.
        weights: Initializers that are still read.
    """

    settled: Mapping[str, Tensor]
    joins: tuple[tuple[ir.Node, int], ...]
    nodes: frozenset[ir.Node]
    feeds: frozenset[str]
    weights: frozenset[str]


def empty_tensors(structures: Structures, alive: Alive) -> frozenset[str]:
    """Names of the tensors, computed and stored, that have an axis without any entry left."""
    carried = {**structures.axes, **structures.slices}
    return frozenset(
        name
        for name, axes in carried.items()
        if any(len(m) > 0 and kept_count(m, alive) == 0 for m in axes.values())
    )


def remains(graph: ir.Graph, empty: frozenset[str], computes: Mapping[str, Compute]) -> Remains:
    """Find out what stays of a graph where some tensors are empty.

    Args:
        graph: As it is; it is not changed.
        empty: See ``empty_tensors``.
        computes: What each node does, by name; those that are missing are not looked into.

    Raises:
        Unsettled: A branch cannot go.
    """
    found = _Survey(empty, computes)
    for node in graph:
        found.visit(node)
    return _living(graph, found)


def vanish(graph: ir.Graph, left: Remains) -> None:
    """Keep what remains, in place; settled operands of joins become initializers."""
    for node, position in left.joins:
        value = node.inputs[position]
        if value is None:  # a join has both of its operands
            continue
        if node.op_type == "Add" and not left.settled[value.name or ""].any() and _bypass(node, 1 - position):
            continue
        node.replace_input_with(position, _stored(graph, value, left.settled[value.name or ""]))
    ports = {v.name for v in graph.inputs}
    for node in reversed(list(graph)):
        if all(not v.uses() and not v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and name not in ports:
            del graph.initializers[name]


@dataclass(eq=False)
class _Survey:
    """What is known of each tensor; those with neither value nor doubt are living.

    Attributes:
        doubts: Tensors made from empty or settled ones in a way that has no answer, and why.
    """

    empty: frozenset[str]
    computes: Mapping[str, Compute]
    settled: dict[str, Tensor] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)

    def visit(self, node: ir.Node) -> None:
        """Follow one node, after those that it reads."""
        made = [v.name for v in node.outputs if v.name and v.name not in self.empty]
        read = [v.name or "" for v in node.inputs if v is not None]
        changed = [name for name in read if name in self.empty or name in self.settled or name in self.doubts]
        if not made:
            return
        if not changed:
            if len(made) < sum(bool(v.name) for v in node.outputs):
                self._doubt(node, made, "some of what it makes is left, and some is not")
            return
        if doubt := next((self.doubts[name] for name in changed if name in self.doubts), None):
            self.doubts |= dict.fromkeys(made, doubt)
        elif any(name in self.empty for name in changed):
            self._answer(node, made, sum_of_nothing(node, self._operands(node), _rank(node.outputs[0])))
        elif node.op_type in LAYOUTS and node.domain == "" and read[0] in self.settled:
            self._answer(node, made, LAYOUTS[node.op_type](node, self._operands(node)))
        elif all(v is None or v.name in self.settled or v.is_initializer() for v in node.inputs):
            compute = self.computes.get(node.name or "")
            self._answer(node, made, None if compute is None else settle(node, self._operands(node), compute))
        elif node.op_type not in JOINS or node.domain != "":
            self._doubt(node, made, f"{node.op_type} takes no constant in place of a branch")

    def require_living(self, value: ir.Value) -> None:
        """Check something that the outputs depend on.

        Raises:
            Unsettled: It is empty, or nobody knows what it is, or it does not depend on any input.
        """
        name = value.name or ""
        if name in self.doubts:
            raise Unsettled(self.doubts[name])
        if name in self.empty or name in self.settled:
            raise Unsettled(f"{name!r} would not depend on any input")

    def _answer(self, node: ir.Node, made: list[str], answer: Tensor | None) -> None:
        if answer is None or made != [node.outputs[0].name]:
            self._doubt(node, made, f"{node.op_type} has no answer where nothing is left of its input")
        else:
            self.settled[made[0]] = answer

    def _doubt(self, node: ir.Node, made: list[str], reason: str) -> None:
        self.doubts |= dict.fromkeys(made, f"{label(node)}: {reason}")

    def _operands(self, node: ir.Node) -> Operands:
        return [None if v is None else self._operand(v) for v in node.inputs]

    def _operand(self, value: ir.Value) -> Tensor | None:
        if value.name in self.settled:
            return self.settled[value.name]
        array = constant(value)
        if array is None or value.name in self.empty:
            return None
        return torch.from_numpy(np.array(array, dtype=np.float64 if is_float(value) else None))


def _living(graph: ir.Graph, found: _Survey) -> Remains:
    """Walk up from the outputs, as far as there is no answer yet."""
    given = {v.name for v in inputs(graph)}
    nodes: set[ir.Node] = set()
    joins: list[tuple[ir.Node, int]] = []
    seen: set[str] = set()
    waiting = list(graph.outputs)
    while waiting:
        value = waiting.pop()
        found.require_living(value)
        seen.add(value.name or "")
        node = value.producer()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        waiting.extend(_captured(node))
        for position, operand in enumerate(node.inputs):
            if operand is not None and operand.name in found.settled:
                joins.append((node, position))
            elif operand is not None:
                waiting.append(operand)
    return Remains(
        settled=found.settled,
        joins=tuple(joins),
        nodes=frozenset(nodes),
        feeds=frozenset(seen & given),
        weights=frozenset(seen & set(graph.initializers)),
    )


def _captured(node: ir.Node) -> Iterator[ir.Value]:
    """What the sub-graphs of a node take from around it, and what they make themselves."""
    for attr in node.attributes.values():
        graphs = [attr.as_graph()] if attr.type == ir.AttributeType.GRAPH else []
        graphs += attr.as_graphs() if attr.type == ir.AttributeType.GRAPHS else []
        for graph in graphs:
            yield from graph.outputs
            yield from (v for inner in graph.all_nodes() for v in inner.inputs if v is not None)


def _bypass(node: ir.Node, position: int) -> bool:
    """Let the readers of a node read one of its inputs instead; not where its output has to keep its name."""
    result, source = node.outputs[0], node.inputs[position]
    if source is None or result.is_graph_output():
        return False
    for reader, at in list(result.uses()):
        reader.replace_input_with(at, source)
    return True


def _stored(graph: ir.Graph, value: ir.Value, settled: Tensor) -> ir.Value:
    """An initializer for a settled tensor; one, however many read it."""
    name = f"{value.name}/constant"
    if name in graph.initializers:
        return graph.initializers[name]
    kind = value.dtype or ir.DataType.FLOAT
    tensor = ir.Tensor(np.ascontiguousarray(settled.numpy().astype(kind.numpy())), dtype=kind, name=name)
    stored = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(kind), const_value=tensor)
    stored.meta[STANDS_FOR] = value.name
    graph.register_initializer(stored)
    return stored


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else value.shape.rank()
