"""Say how wide the parts of a Split are, so that they can be cut to different widths."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, opset


def write_split_sizes(model: ir.Model) -> ir.Model:
    """Give every Split into equal parts its sizes, in place, where shape inference knows them.

    Opset 13 turned the attribute into an input; opset 18 made ``num_outputs`` and sizes exclusive.
    """
    for node in model.graph:
        if node.op_type != "Split" or node.domain or "split" in node.attributes:
            continue
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            continue
        if (sizes := _widths(node)) is not None:
            _write(model, node, sizes)
    return model


def _widths(node: ir.Node) -> list[int] | None:
    x, parts = node.inputs[0], len(node.outputs)
    if x is None or x.shape is None:
        return None
    width = x.shape[attribute(node, "axis", 0)]
    if not isinstance(width, int):
        return None
    each = -(-width // parts)  # the last part is smaller if the width does not divide
    return [*[each] * (parts - 1), width - each * (parts - 1)]


def _write(model: ir.Model, node: ir.Node, sizes: list[int]) -> None:
    if opset(model) < 13:
        node.attributes["split"] = ir.AttrInt64s("split", sizes)
        return
    node.attributes.pop("num_outputs", None)
    name = f"{node.name}.sizes"
    value = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, dtype=np.int64), name=name))
    value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(sizes)])
    model.graph.register_initializer(value)
    node.resize_inputs(2)
    node.replace_input_with(1, value)
