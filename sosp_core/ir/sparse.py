"""Sparse initializers, written out with their zeros: no converter and no cut knows another form."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper

from sosp_core.errors import ModelInvalid, ModelTooLarge, UnsupportedModel
from sosp_core.ir import wire


def densify(proto: onnx.ModelProto, limit: int) -> None:
    """Replace every sparse initializer by a dense one, in place.

    Raises:
        ModelTooLarge: One would have more than ``limit`` elements.
        ModelInvalid: Indices do not fit the shape.
        UnsupportedModel: An attribute holds a sparse tensor.
    """
    for graph in wire.all_graphs(proto):
        graph.initializer.extend(_dense(sparse, limit) for sparse in graph.sparse_initializer)
        graph.ClearField("sparse_initializer")
    for node in wire.nodes(proto):
        if any(a.HasField("sparse_tensor") or a.sparse_tensors for a in node.attribute):
            raise UnsupportedModel(reason=f"node {node.name!r} ({node.op_type}) holds a sparse tensor")


def _dense(sparse: onnx.SparseTensorProto, limit: int) -> onnx.TensorProto:
    """Indices are positions in the flat tensor ``[NNZ]``, or one for each axis ``[NNZ, rank]``.

    Spec: https://onnx.ai/onnx/api/classes.html#sparsetensorproto
    """
    name, shape = sparse.values.name, tuple(sparse.dims)
    if any(dim < 0 for dim in shape):
        raise ModelInvalid(reason=f"sparse initializer {name!r} has the negative dimension {min(shape)}")
    if math.prod(shape) > limit:
        raise ModelTooLarge(quantity=f"elements in {name!r}", got=math.prod(shape), limit=limit)
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        flat = indices if indices.ndim < 2 else np.ravel_multi_index(tuple(indices.T), shape)
        dense = np.zeros(math.prod(shape), values.dtype)
        dense[flat] = values
    except (ValueError, IndexError, TypeError) as error:
        raise ModelInvalid(reason=f"sparse initializer {name!r}: {error}") from error
    return numpy_helper.from_array(dense.reshape(shape), name)
