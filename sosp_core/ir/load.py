"""Bytes to a checked ONNX model, with limits.

The order matters: cheap structural limits come first, because the ONNX checker and shape
inference do not terminate in useful time on some small files (nested functions that expand
exponentially), and accept many models that no runtime can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from sosp_core.errors import ModelInvalid, ModelNotOnnx, ModelTooLarge, UnsupportedModel

STANDARD_DOMAINS = {"", "ai.onnx"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model file may hold before anything expensive looks at it."""

    file_bytes: int = 2**31 - 1  # protobuf's own limit for one message
    nodes: int = 100_000
    function_depth: int = 16
    tensor_elements: int = 2**31


def load_model(source: Path | bytes, limits: Limits = Limits()) -> ir.Model:
    """Read, check and return an ONNX model.

    Args:
        source: A file, or its content.
        limits: Refuse more than this.

    Raises:
        ModelNotOnnx: The bytes are empty, truncated, or something else.
        ModelTooLarge: A limit is exceeded.
        ModelInvalid: The ONNX checker or shape inference rejects the model.
        UnsupportedModel: Weights lie in external files.
    """
    proto = _parse(_read(source, limits))
    _check_structure(proto, limits)
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelInvalid(reason=_first_line(error)) from error
    return ir.serde.deserialize_model(proto)


def _read(source: Path | bytes, limits: Limits) -> bytes:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size > limits.file_bytes:
        raise ModelTooLarge(quantity="bytes", got=size, limit=limits.file_bytes)
    return source if isinstance(source, bytes) else source.read_bytes()


def _parse(content: bytes) -> onnx.ModelProto:
    if not content:
        raise ModelNotOnnx(reason="the file is empty")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelNotOnnx(
            reason="the bytes do not parse as an ONNX protobuf (truncated, or another format)"
        ) from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelNotOnnx(reason="it has no graph with nodes")
    if proto.ir_version < 3 or not proto.opset_import:
        raise ModelNotOnnx(reason=f"IR version {proto.ir_version} or opset imports are missing or too old")
    return proto


def _check_structure(proto: onnx.ModelProto, limits: Limits) -> None:
    if proto.functions:
        _check_functions(proto, limits)
    n_nodes = 0
    for graph in _graphs(proto.graph):
        n_nodes += len(graph.node)
        if n_nodes > limits.nodes:
            raise ModelTooLarge(quantity="nodes", got=n_nodes, limit=limits.nodes)
        for tensor in graph.initializer:
            _check_tensor(tensor, limits)
        if graph.sparse_initializer:
            raise UnsupportedModel(reason="sparse initializers")
    if not proto.graph.input or not proto.graph.output:
        raise ModelInvalid(reason="the graph needs at least one input and one output")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for sub in attribute.graphs:
                yield from _graphs(sub)


def _check_tensor(tensor: onnx.TensorProto, limits: Limits) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UnsupportedModel(
            reason=f"weight {tensor.name!r} lies in an external file; save the model as one file"
        )
    elements = 1
    for dim in tensor.dims:
        if dim < 0:
            raise ModelInvalid(reason=f"initializer {tensor.name!r} has the negative dimension {dim}")
        elements *= dim
    if elements > limits.tensor_elements:
        raise ModelTooLarge(
            quantity=f"elements in {tensor.name!r}", got=elements, limit=limits.tensor_elements
        )


def _check_functions(proto: onnx.ModelProto, limits: Limits) -> None:
    """Refuse recursion and expansions beyond the node limit, before anything inlines them."""
    bodies = {(f.domain, f.name): f for f in proto.functions}
    expanded: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], depth: int) -> int:
        if depth > limits.function_depth:
            raise ModelInvalid(reason=f"functions call each other deeper than {limits.function_depth} levels")
        if key not in expanded:
            body = bodies[key].node
            calls = ((n.domain, n.op_type) for n in body)
            expanded[key] = sum(size(c, depth + 1) if c in bodies else 1 for c in calls)
        return expanded[key]

    total = sum(size((n.domain, n.op_type), 0) for n in proto.graph.node if (n.domain, n.op_type) in bodies)
    if total > limits.nodes:
        raise ModelTooLarge(quantity="nodes after inlining functions", got=total, limit=limits.nodes)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
