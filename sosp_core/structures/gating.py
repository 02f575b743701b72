"""Put the gates into the graph: a multiplication before every node that sums over structure.

The gated model is ordinary ONNX. With gates of 0 and 1 it *is* the masked network, run by the
same referee as the slim one; with gates as variables it is the network in mask space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.runtime.observe import Shapes
from sosp_core.structures.structures import STAYS, Alive, Gate, Members, Structures


@dataclass(frozen=True, kw_only=True)
class InsertedGate:
    """A gate in the graph.

    Attributes:
        members: Which structure scales which entry.
        axis: The axis of the gated tensor that it runs along.
        per_sample: The tensor's first axis counts samples, so each could have its own gate.
    """

    members: Members
    axis: int
    per_sample: bool


@dataclass(frozen=True, kw_only=True)
class GatedModel:
    """A model with gates.

    Attributes:
        model: A copy of the original with ``Mul`` nodes in it.
        gates: By the name of their initializers.
    """

    model: ir.Model
    gates: Mapping[str, InsertedGate]

    def mask(self, alive: Alive) -> ir.Model:
        """Set every gate of a removed structure to 0 and all others to 1, in place."""
        for name, gate in self.gates.items():
            members = gate.members
            value = self.model.graph.initializers[name]
            if value.const_value is None:  # made below, always with a value
                continue
            old = value.const_value.numpy()
            new = ((members == STAYS) | alive[members]).astype(old.dtype).reshape(old.shape)
            value.const_value = ir.tensor(new, name=name)
        return self.model


def gate_model(model: ir.Model, structures: Structures, shapes: Shapes) -> GatedModel:
    """Copy ``model`` and insert one gate for each (tensor, axis) that is read.

    A gate multiplies what the readers see and nothing else, so whatever lies between the
    producer and them (bias, sigmoid, padding of a shifted value) is silenced too.
    """
    gated = model.clone()
    nodes = {node.name: node for node in gated.graph}
    inserted: dict[str, InsertedGate] = {}
    stored = set(gated.graph.initializers)
    for number, gate in enumerate(structures.gates):
        name = f"sosp.gate.{number}"
        # [n, 1, ...]: broadcasting aligns from the right, so the batch axis needs no mention.
        trailing = len(shapes.shape[gate.value]) - gate.axis - 1
        ones = np.ones((len(gate.members), *[1] * trailing), dtype=shapes.dtype[gate.value])
        value = ir.Value(name=name, const_value=ir.tensor(ones, name=name))
        value.type = ir.TensorType(ir.DataType.from_numpy(ones.dtype))
        value.shape = ir.Shape(ones.shape)
        gated.graph.register_initializer(value)
        for part, readers in enumerate(_by_source(nodes, gate)):
            _multiply(gated.graph, readers, value, name if part == 0 else f"{name}.{part}")
        inserted[name] = InsertedGate(
            members=gate.members,
            axis=gate.axis,
            per_sample=gate.axis > 0
            and gate.value not in stored
            and shapes.shape[gate.value][0] == shapes.batch,
        )
    return GatedModel(model=gated, gates=inserted)


def _by_source(nodes: Mapping[str | None, ir.Node], gate: Gate) -> list[list[tuple[ir.Node, int]]]:
    """Readers that see the same tensor now: an input may have got a gate along another axis before."""
    found: dict[str, list[tuple[ir.Node, int]]] = {}
    for name, position in gate.readers:
        source = nodes[name].inputs[position]
        if source is not None:  # a reader's input exists, or it would not have been noted
            found.setdefault(source.name or "", []).append((nodes[name], position))
    return list(found.values())


def _multiply(graph: ir.Graph, readers: list[tuple[ir.Node, int]], gate: ir.Value, name: str) -> None:
    """Let the readers, which share a source, read its product with the gate."""
    source = readers[0][0].inputs[readers[0][1]]
    product = ir.node("Mul", [source, gate], name=f"{name}.mul")
    product.outputs[0].name = f"{name}.out"
    if source is not None:
        product.outputs[0].type, product.outputs[0].shape = source.type, source.shape
    graph.insert_before(_first(graph, [n for n, _ in readers]), product)
    for node, position in readers:
        node.replace_input_with(position, product.outputs[0])


def _first(graph: ir.Graph, nodes: list[ir.Node]) -> ir.Node:
    if len(nodes) == 1:
        return nodes[0]
    wanted = set(nodes)
    return next(node for node in graph if node in wanted)
