"""Walking an ONNX protobuf before anything interprets it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

#: Bits of one element of each type that has a fixed width.
BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
}


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside it."""
    yield graph
    yield from _inner_graphs(graph.node)


def _inner_graphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def all_graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Every graph of the model, those inside its functions included."""
    yield from graphs(proto.graph)
    for function in proto.functions:
        yield from _inner_graphs(function.node)


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the model, at any depth and in its functions."""
    for graph in all_graphs(proto):
        yield from graph.node
    for function in proto.functions:
        yield from function.node


def tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor that the model carries: initializers, dense or sparse, and attributes."""
    for graph in all_graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def elements(tensor: TensorProto) -> int:
    """How many values its shape declares."""
    return math.prod(tensor.dims)


def bytes_of(tensor: TensorProto) -> int:
    """How many bytes its values take when packed; 0 for types without a fixed width."""
    return math.ceil(elements(tensor) * BITS.get(tensor.data_type, 0) / 8)


def holds_what_it_declares(tensor: TensorProto) -> bool:
    """Whether an inline tensor has as many values as its shape says; unknown and packed types pass."""
    bits = BITS.get(tensor.data_type, 0)
    if bits < 8 or tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return True
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) == bytes_of(tensor)
    return len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type))) == elements(tensor)
