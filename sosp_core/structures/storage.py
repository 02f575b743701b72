"""What the initializers of a model count for: as weights, and as bytes of its file."""

from __future__ import annotations

import onnx_ir as ir

from sosp_core.ir.bfloat16 import STORED


def is_weight(value: ir.Value) -> bool:
    """Count floats; integers are shapes and indices, not weights."""
    return value.dtype is not None and value.dtype.is_floating_point()


def itemsize(value: ir.Value) -> float:
    """Bytes of one element in the file, which may hold less than is computed with."""
    return 0.0 if value.dtype is None else float(value.meta.get(STORED, value.dtype.itemsize))


def stored(model: ir.Model, original: ir.Model) -> tuple[int, int]:
    """Weights of a model, and bytes of all its initializers; how they are stored is as in the original."""
    weights, size = 0, 0.0
    for name, value in model.graph.initializers.items():
        held = value.const_value
        if held is not None:
            weights += held.size if is_weight(value) else 0
            size += held.size * itemsize(original.graph.initializers.get(name, value))
    return weights, round(size)
