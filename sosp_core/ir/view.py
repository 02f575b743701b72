"""Small read-only questions about an ``onnx_ir`` graph."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx_ir as ir

FLOAT_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The array behind an initializer, or None for anything computed."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy()


def is_float(value: ir.Value) -> bool:
    """Whether the value holds real numbers of a floating type."""
    return value.dtype in FLOAT_TYPES


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The Python value of an attribute, or ``default`` where the node does not set it."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.value


def ints(node: ir.Node, name: str, position: int) -> list[int] | None:
    """Integers given as an attribute in old opsets and as a constant input in new ones.

    Returns:
        The integers; None if absent or computed at run time.
    """
    if (value := attribute(node, name)) is not None:
        return [int(v) for v in value]
    array = constant(node.inputs[position]) if position < len(node.inputs) else None
    return None if array is None else [int(v) for v in np.atleast_1d(array)]


def opset(model: ir.Model, domain: str = "") -> int:
    """The version of ``domain`` that the model imports; 1 if it does not say."""
    return model.graph.opset_imports.get(domain, 1)


def label(node: ir.Node) -> str:
    """How a node is called in messages: ``name (OpType)``."""
    return f"{node.name} ({node.op_type})"


def matches(node: ir.Node, pattern: str) -> bool:
    """Whether a pattern means this node: its name, a shell pattern of it, or ``op:`` and its operator."""
    if pattern.startswith("op:"):
        return fnmatchcase(node.op_type, pattern.removeprefix("op:"))
    name = node.name or ""
    return name == pattern or fnmatchcase(name, pattern)


def values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every node output, in topological order."""
    for node in graph:
        yield from (v for v in node.outputs if v.name)


def inputs(graph: ir.Graph) -> list[ir.Value]:
    """The inputs a caller feeds: graph inputs that are not initializers."""
    return [v for v in graph.inputs if not v.is_initializer()]
