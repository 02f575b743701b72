"""Replace sizes that are read at run time by the numbers they always are.

PyTorch's classic exporter reads widths off tensors (``b, n, c = x.shape``) although only the
batch is dynamic. As stored numbers they can be computed with ahead, and rewritten when a width
shrinks; as sizes of one tensor they could not follow the width of another.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant


def write_known_sizes(graph: ir.Graph) -> bool:
    """Replace every pick from a Shape whose dimensions are fixed, in place; whether there was any."""
    outputs = set(graph.outputs)
    changed = False
    for node in list(graph):
        result = node.outputs[0]
        if result in outputs or not result.uses():
            continue
        if (known := _known(node)) is not None:
            name = f"{result.name}.known"
            value = ir.Value(name=name, const_value=ir.tensor(known, name=name))
            value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(known.shape)
            graph.register_initializer(value)
            result.replace_all_uses_with(value)
            changed = True
    return changed


def _known(node: ir.Node) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """What a Shape, or a Gather or Slice of one, always gives; None if that depends on the input."""
    if node.op_type == "Shape":
        picked: list[int | ir.SymbolicDim] | None = _dimensions(node)
        scalar = False
    elif node.op_type in ("Gather", "Slice") and node.inputs[0] is not None:
        source = node.inputs[0].producer()
        dims = None if source is None or source.op_type != "Shape" else _dimensions(source)
        picked, scalar = (None, False) if dims is None else _pick(node, dims)
    else:
        return None
    if picked is None or not all(isinstance(d, int) for d in picked):
        return None
    numbers = np.array(picked, dtype=np.int64)
    return numbers.reshape(()) if scalar else numbers


def _dimensions(shape: ir.Node) -> list[int | ir.SymbolicDim] | None:
    x = shape.inputs[0]
    if x is None or x.shape is None:
        return None
    return list(x.shape.dims)[attribute(shape, "start", 0) : attribute(shape, "end", None)]


def _pick(node: ir.Node, dims: list[int | ir.SymbolicDim]) -> tuple[list[int | ir.SymbolicDim] | None, bool]:
    given = [constant(v) for v in node.inputs[1:]]
    if any(array is None for array in given):
        return None, False
    numbers = [array.ravel() for array in given if array is not None]
    if node.op_type == "Gather":
        return [dims[int(i)] for i in numbers[0]], given[0] is not None and given[0].ndim == 0
    if len(numbers) < 2:  # bounds as attributes: before opset 10, when nothing was computed so
        return None, False
    step = int(numbers[3][0]) if len(numbers) > 3 else 1
    return dims[int(numbers[0][0]) : int(numbers[1][0]) : step], False
