"""Inputs that are read rather than computed with: integers, numbers, element types."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from sosp_core.convert.table import Operator, Unconvertible

#: Gives the integers of an input, or None if the node leaves it out.
Ints = Callable[["Tensor | None"], "list[int] | None"]

Number = int | float | bool

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.COMPLEX64: torch.complex64,
    TensorProto.COMPLEX128: torch.complex128,
    TensorProto.BFLOAT16: torch.bfloat16,
}


def ints(op: Operator, position: int, attribute: str | None = None) -> Ints:
    """How to read integers that are a constant, an attribute in old opsets, or computed.

    The reader takes the input's tensor and looks into it only if it is computed: on a GPU
    that look waits for everything queued before it.
    """
    known = op.attribute(attribute) if attribute else None
    if known is None:
        known = op.static_ints(position)
    if known is None:
        return _ints_at_run_time
    fixed = list(known)
    return lambda _: fixed


def _ints_at_run_time(value: Tensor | None) -> list[int] | None:
    return None if value is None else [int(v) for v in value.reshape(-1).tolist()]


def required(values: list[int] | None, what: str) -> list[int]:
    """The integers of an input that the operator's definition requires."""
    if values is None:
        raise ValueError(f"the node has no {what}")
    return values


def static_number(op: Operator, position: int) -> Number | None:
    """The value of a constant input with one element, or None if it is not constant."""
    value = op.constants.get(position)
    if value is None or value.size != 1:
        return None
    number: Number = np.asarray(value).reshape(()).item()
    return number


def dtype_of(code: int) -> torch.dtype:
    """The torch element type for a code of ``TensorProto.DataType``."""
    if code not in DTYPES:
        raise Unconvertible(f"element type {TensorProto.DataType.Name(code)} has no torch counterpart")
    return DTYPES[code]


def tensor_of(array: np.ndarray) -> Tensor:
    """A copy of the array as a tensor; bfloat16 arrays are of ml_dtypes, which torch cannot read."""
    if array.dtype.name == "bfloat16":
        bits = np.ascontiguousarray(array).view(np.int16)
        return torch.from_numpy(bits.copy()).view(torch.bfloat16)
    try:
        return torch.from_numpy(np.array(array, order="C"))
    except TypeError as error:
        raise Unconvertible(f"element type {array.dtype} has no torch counterpart") from error
