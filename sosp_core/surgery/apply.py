"""Slice initializers and rewrite size constants: the slim model is the original, cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from sosp_core.convert.network import survey
from sosp_core.ir.view import inputs
from sosp_core.ops.flow import Place
from sosp_core.structures.structures import Alive, Structures, kept_count, kept_positions
from sosp_core.surgery.vanish import empty_tensors, remains, vanish


def slim(model: ir.Model, structures: Structures, alive: Alive) -> ir.Model:
    """Copy ``model`` without the structures that are not alive.

    Names of inputs, outputs, nodes and weights survive, as do types, dynamic dimensions, opsets
    and metadata. Inner shapes are inferred anew. Where nothing is left of an inner width, the
    branch goes, see ``vanish``.

    Raises:
        Unsettled: Something that stays needs a branch of which nothing is left.
    """
    cut = model.clone()
    nodes = {node.name or "": node for node in cut.graph}
    for name, axes in structures.slices.items():
        _slice_initializer(
            cut.graph.initializers[name], {a: kept_positions(m, alive) for a, m in axes.items()}
        )
    for size in structures.sizes:
        write_size(cut.graph, nodes[size.place.node], size.place, kept_count(size.members, alive))
    if empty := empty_tensors(structures, alive):
        vanish(cut.graph, remains(cut.graph, empty, survey(model).computes))
    infer_shapes(cut)
    return cut


def _slice_initializer(value: ir.Value, kept: dict[int, Any]) -> None:
    tensor = value.const_value
    if tensor is None:  # a bound initializer always holds its weights
        return
    array = tensor.numpy()
    for axis, positions in kept.items():
        array = np.take(array, positions, axis=axis)
    value.const_value = ir.Tensor(np.ascontiguousarray(array), dtype=tensor.dtype, name=value.name)
    value.shape = ir.Shape(array.shape)


def write_size(graph: ir.Graph, node: ir.Node, place: Place, number: int) -> None:
    """Write an integer where the graph holds it."""
    if place.name is not None:
        _write_attribute(node, place.name, place.index, number)
    elif place.position is not None and place.index is not None:
        _write_input(graph, node, place.position, place.index, number)


def _write_attribute(node: ir.Node, name: str, index: int | None, number: int) -> None:
    if index is None:
        node.attributes[name] = ir.AttrInt64(name, number)
        return
    numbers = list(node.attributes[name].as_ints())
    numbers[index] = number
    node.attributes[name] = ir.AttrInt64s(name, numbers)


def _write_input(graph: ir.Graph, node: ir.Node, position: int, index: int, number: int) -> None:
    """Change one integer of a constant input; a constant that others read is copied first."""
    value = node.inputs[position]
    if value is None or value.const_value is None:  # places name constants only
        return
    array = np.array(value.const_value.numpy())
    array.reshape(-1)[index] = number
    if len(value.uses()) > 1:
        name = f"{value.name}.{node.name}.{position}"
        copy = ir.Value(name=name, shape=value.shape, type=value.type)
        copy.const_value = ir.tensor(array, name=name)
        graph.register_initializer(copy)
        node.replace_input_with(position, copy)
    else:
        value.const_value = ir.tensor(array, name=value.name)


def infer_shapes(model: ir.Model) -> None:
    """Infer inner shapes anew, in place; those of inputs and outputs stay."""
    ends = {v.name for v in (*inputs(model.graph), *model.graph.outputs)}
    for node in model.graph:
        for value in node.outputs:
            if value.name not in ends:
                value.shape = None
    passes.ShapeInferencePass(strict_mode=False)(model)
