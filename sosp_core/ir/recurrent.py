"""Recurrent layers that start from zeros: the operator does so by itself."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.view import attribute, constant

#: Inputs that hold the initial states, by operator.
STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
#: Move, repeat or convert what they are given: zeros stay zeros.
MOVES = frozenset("Expand Slice Reshape Transpose Unsqueeze Squeeze Gather Identity Cast Tile".split())


def drop_zero_states(graph: ir.Graph) -> None:
    """Leave out initial states that are zero, in place; exporters compute them from the batch size.

    Both ways the layer computes the same, but absent states have no width that could not follow.
    """
    for node in graph:
        for position in STATES.get(node.op_type, ()):
            if position < len(node.inputs) and _is_zero(node.inputs[position]):
                node.replace_input_with(position, None)


def _is_zero(value: ir.Value | None) -> bool:
    if value is None:
        return False
    if (array := constant(value)) is not None:
        return not array.any()
    node = value.producer()
    if node is None or node.domain:
        return False
    if node.op_type == "ConstantOfShape":
        fill = attribute(node, "value")
        return fill is None or not fill.numpy().any()
    if node.op_type == "Concat":
        return all(_is_zero(v) for v in node.inputs)
    return node.op_type in MOVES and _is_zero(node.inputs[0])
