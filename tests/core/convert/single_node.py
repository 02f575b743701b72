"""Evaluate a converter on one node, without any network around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import sosp_core.convert as families
from sosp_core.convert.operands import tensor_of
from sosp_core.convert.table import LATEST, Compute, Operator, converters

assert families  # importing the package fills the table


def python_value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or type(value).__module__.startswith("google"):
        return [v.decode() if isinstance(v, bytes) else v for v in value]
    return value


def operator(
    op_type: str,
    arrays: Sequence[np.ndarray | None] = (),
    *,
    opset: int = 22,
    domain: str = "",
    n_outputs: int = 1,
    static: bool = True,
    **attributes: Any,
) -> Operator:
    """A node on the arrays given; all of them are constants if ``static``, else all are computed."""
    return Operator(
        name="node",
        domain=domain,
        op_type=op_type,
        opset=opset,
        attributes=attributes,
        constants={i: a for i, a in enumerate(arrays) if a is not None} if static else {},
        n_inputs=len(arrays),
        n_outputs=n_outputs,
    )


def build(op: Operator) -> Compute:
    converter = converters.find(op.domain, op.op_type, min(op.opset, LATEST))
    assert converter is not None, f"no converter for {op.op_type} at {op.opset}"
    compute = converter.build(op)
    return compute.eval() if isinstance(compute, nn.Module) else compute


def evaluate(op: Operator, arrays: Sequence[np.ndarray | None]) -> tuple[Tensor, ...]:
    result = build(op)(*(None if a is None else tensor_of(a) for a in arrays))
    return result if isinstance(result, tuple) else (result,)


def as_numpy(tensor: Tensor) -> np.ndarray:
    """The tensor's values; bfloat16 ones as float32, which holds them all."""
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
