"""Sizes that a graph computes from shapes, though the shapes are known.

Exporters write ``x.view(n, c // 4, 4, h, w)`` and ``interpolate(x, size=...)`` as arithmetic on
``Shape``. With a free batch axis constant folding gives up on all of it. Here each element is
followed by itself: what does not depend on the batch becomes a number, the batch becomes -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant, opset

#: Elements of a shape tensor; longer ones are no shapes.
LONGEST = 16


@dataclass(frozen=True)
class Dim:
    """The size of an axis of some tensor, not known as a number."""

    tensor: ir.Value
    axis: int


Element = int | Dim | None


def settle_sizes(model: ir.Model) -> bool:
    """Write numbers where the graph computes them from known shapes; whether anything changed."""
    changed = False
    for node in list(model.graph):
        if node.domain != "":
            continue
        if node.op_type in ("Shape", "Gather", "Slice"):
            changed |= _settle_pick(model.graph, node)
        elif node.op_type == "Reshape" and constant(node.inputs[1]) is None:
            changed |= _settle_reshape(model.graph, node)
        elif node.op_type == "Resize" and opset(model) >= 11 and len(node.inputs) > 3:
            changed |= _settle_resize(model.graph, node)
    return changed


def _settle_pick(graph: ir.Graph, node: ir.Node) -> bool:
    """Sizes read out of a shape: all of them, one, or a few in a row."""
    output = node.outputs[0]
    if output.is_graph_output() or not output.uses() or constant(node.inputs[0]) is not None:
        return False
    elements = _elements(output)
    if elements is None or any(not isinstance(e, int) for e in elements):
        return False
    shape: tuple[int, ...] = (len(elements),)
    if node.op_type == "Gather" and (index := constant(node.inputs[1])) is not None:
        shape = index.shape
    _replace_output(graph, node, np.array(elements, np.int64).reshape(shape))
    return True


def _settle_reshape(graph: ir.Graph, node: ir.Node) -> bool:
    """A target of numbers, of axes that stay (0), and at most one other size (-1)."""
    elements = _elements(node.inputs[1])
    if elements is None or attribute(node, "allowzero", 0):
        return False
    target = [_kept(e, node.inputs[0], axis) for axis, e in enumerate(elements)]
    if target.count(-1) > 1 or any(e == 0 for e in elements):
        return False
    _replace_input(graph, node, 1, np.array(target, np.int64))
    return True


def _kept(element: Element, tensor: ir.Value | None, axis: int) -> int:
    if isinstance(element, int):
        return element
    return 0 if tensor is not None and element == Dim(tensor, axis) else -1


def _settle_resize(graph: ir.Graph, node: ir.Node) -> bool:
    """Scales in place of sizes, where they say precisely the same."""
    x, sizes = node.inputs[0], node.inputs[3]
    if x is None or sizes is None or constant(sizes) is not None or x.shape is None:
        return False
    elements = _elements(sizes)
    if elements is None or len(elements) != x.shape.rank() or attribute(node, "axes") is not None:
        return False
    scales = []
    for axis, element in enumerate(elements):
        have = x.shape[axis]
        if element == Dim(x, axis):
            scales.append(1.0)
        elif isinstance(element, int) and isinstance(have, int) and have > 0:
            scale = np.float32(element) / np.float32(have)
            if float(scale) * have != element:  # rounded: the size would come out one smaller
                return False
            scales.append(float(scale))
        else:
            return False
    node.replace_input_with(3, None)
    _replace_input(graph, node, 2, np.array(scales, np.float32))
    return True


def _elements(value: ir.Value | None) -> list[Element] | None:
    """What each element of a small integer tensor is; None if it is no such tensor."""
    if value is None:
        return None
    known = constant(value)
    if known is not None:
        small = known.size <= LONGEST and known.ndim < 2 and known.dtype.kind == "i"
        return [int(n) for n in known.reshape(-1)] if small else None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    match node.op_type:
        case "Shape":
            return _shape(node)
        case "Unsqueeze" | "Squeeze" | "Identity":
            return _elements(node.inputs[0])
        case "Cast" if attribute(node, "to") == ir.DataType.INT64:
            return _elements(node.inputs[0])
        case "Concat":
            parts = [_elements(v) for v in node.inputs]
            return [e for part in parts if part is not None for e in part] if None not in parts else None
        case "Gather" | "Slice":
            return _part(node)
    return [None] if value.shape is not None and value.shape.rank() == 0 else None


def _shape(node: ir.Node) -> list[Element] | None:
    tensor = node.inputs[0]
    if tensor is None or tensor.shape is None:
        return None
    dims = [d if isinstance(d, int) else Dim(tensor, axis) for axis, d in enumerate(tensor.shape)]
    return list(dims[attribute(node, "start", 0) : attribute(node, "end")])


def _part(node: ir.Node) -> list[Element] | None:
    elements = _elements(node.inputs[0])
    if elements is None:
        return None
    if node.op_type == "Gather":
        index = constant(node.inputs[1])
        if index is None or index.ndim > 1 or (np.abs(index + 0.5) > len(elements)).any():
            return None
        return [elements[int(i)] for i in index.reshape(-1)]
    start, end, *rest = (constant(v) for v in node.inputs[1:])
    step = rest[1] if len(rest) > 1 else np.array([1])
    if start is None or end is None or step is None or (start.size, end.size, step.size) != (1, 1, 1):
        return None
    return elements[int(start.item()) : int(end.item()) : int(step.item())] if step.item() > 0 else None


def _replace_output(graph: ir.Graph, node: ir.Node, array: np.ndarray) -> None:
    old = node.outputs[0]
    ir.convenience.replace_all_uses_with(old, _held(graph, f"{old.name}.known", array))


def _replace_input(graph: ir.Graph, node: ir.Node, position: int, array: np.ndarray) -> None:
    node.replace_input_with(position, _held(graph, f"{node.outputs[0].name}.{position}", array))


def _held(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    graph.register_initializer(value)
    return value
