"""A model without its weights, and the weights by name: no tool has to copy what it only passes on.

Checkers and sessions take a protobuf message, which is limited to 2 GiB and is copied several times
on its way. Its weights need not be in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from sosp_core.ir import wire
from sosp_core.ir.view import FLOAT_TYPES

Array = np.ndarray[Any, Any]

#: Smaller tensors stay where they are: sizes, axes and scalars, which shape inference looks at.
SMALL = 1024
#: Where hollow tensors say that their values are; nothing of the name is ever opened.
ELSEWHERE = "in_memory"


def take_weights(proto: onnx.ModelProto) -> dict[str, Array]:
    """Take the values of large inline initializers out of a message, in place.

    What is left declares them empty, so that it can be checked; ``give_weights`` undoes that.
    """
    taken: dict[str, Array] = {}
    for tensor in proto.graph.initializer:
        if wire.bytes_of(tensor) < SMALL or not tensor.HasField("raw_data"):
            continue
        dtype = ir.DataType(tensor.data_type)
        if dtype not in FLOAT_TYPES:
            continue
        taken[tensor.name] = np.frombuffer(tensor.raw_data, dtype.numpy()).reshape(tuple(tensor.dims))
        tensor.ClearField("dims")
        tensor.ClearField("raw_data")
        tensor.dims.append(0)
    return taken


def give_weights(model: ir.Model, taken: Mapping[str, Array]) -> ir.Model:
    """Put the values back where they belong, in place, without copying them."""
    for name, array in taken.items():
        value = model.graph.initializers[name]
        kind = ir.DataType.FLOAT if value.const_value is None else value.const_value.dtype
        value.const_value = ir.Tensor(array, dtype=kind, name=name)
        value.shape = ir.Shape(array.shape)
    return model


def hollow(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A message whose large float initializers lie elsewhere, and their values.

    Raises:
        ir.serde.SerdeError: Some attribute or type has no place in a message.
    """
    kept = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.nbytes >= SMALL
        and value.const_value.dtype in FLOAT_TYPES - {ir.DataType.BFLOAT16}  # no such type in NumPy
    }
    try:
        for name, tensor in kept.items():
            model.graph.initializers[name].const_value = ir.ExternalTensor(
                ELSEWHERE, 0, tensor.nbytes, tensor.dtype, shape=_shape(tensor), name=name
            )
        proto = ir.serde.serialize_model(model)
    finally:
        for name, tensor in kept.items():
            model.graph.initializers[name].const_value = tensor
    return proto, {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in kept.items()}


def _shape(tensor: ir.TensorProtocol) -> ir.Shape:
    return ir.Shape(tensor.numpy().shape)
