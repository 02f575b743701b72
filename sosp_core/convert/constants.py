"""Tensors made from shapes, numbers and types."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from sosp_core.convert.operands import dtype_of, ints, required, static_number, tensor_of
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters


class Held(nn.Module):
    """Holds a tensor as a buffer, so that it follows the network's device and element type."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value, persistent=False)


class Literal(Held):
    """A fixed tensor."""

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value


class Filled(Held):
    """A fixed number, spread to the shape that the input holds."""

    def __init__(self, op: Operator, value: Tensor) -> None:
        super().__init__(value.reshape(()))
        self.read = ints(op, 0)

    def forward(self, shape: Tensor | None = None) -> Tensor:
        """The number, over and over."""
        return self.value.expand(required(self.read(shape), "shape"))


class Cast(Held):
    """Change of element type.

    The type is that of an empty buffer: a network cast to float64 as a whole then also computes
    in float64 behind its casts to float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` in the other type."""
        return x.to(self.value.dtype)


@converters.register("Constant", since=1)
def constant(op: Operator) -> Compute:
    """The tensor in whichever attribute carries it; numbers are float32 or int64."""
    for name in ("value_float", "value_floats"):
        if op.attribute(name) is not None:
            return Literal(torch.tensor(op.attribute(name), dtype=torch.float32))
    for name in ("value_int", "value_ints"):
        if op.attribute(name) is not None:
            return Literal(torch.tensor(op.attribute(name), dtype=torch.int64))
    if op.attribute("value") is None:
        raise Unconvertible(f"a constant of kind {', '.join(op.attributes)}")
    return Literal(tensor_of(np.asarray(op.attribute("value"))))


@converters.register("ConstantOfShape", since=9)
def constant_of_shape(op: Operator) -> Compute:
    """One number, float32 zero by default, spread to a shape."""
    value = op.attribute("value")
    return Filled(op, torch.zeros(()) if value is None else tensor_of(np.asarray(value)))


@converters.register("Cast", since=6)
def cast(op: Operator) -> Compute:
    """To the type ``to``; fractions are cut toward zero, what is not zero is true."""
    return Cast(torch.empty(0, dtype=dtype_of(op.attribute("to"))))


@converters.register("CastLike", since=15)
def cast_like(op: Operator) -> Compute:
    """To the type of the second input."""
    return lambda x, like: x.to(like.dtype)


@converters.register("Shape", since=1)
def shape(op: Operator) -> Compute:
    """The sizes of axes ``start`` to ``end``; both count from the end if negative, and are clamped."""
    start, end = op.attribute("start", 0), op.attribute("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


@converters.register("Size", since=1)
def size(op: Operator) -> Compute:
    """The number of elements."""
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


@converters.register("Range", since=11)
def range_(op: Operator) -> Compute:
    """``start + i · delta`` for i below ``max(ceil((limit − start) / delta), 0)``."""
    fixed = [static_number(op, i) for i in range(3)]

    def compute(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        given = (start, limit, delta)
        first, stop, step = (
            t.item() if known is None else known for known, t in zip(fixed, given, strict=True)
        )
        count = max(math.ceil((stop - first) / step), 0)
        steps = torch.arange(count, dtype=start.dtype, device=start.device)
        values: Tensor = first + steps * step
        return values

    return compute


@converters.register("EyeLike", since=9)
def eye_like(op: Operator) -> Compute:
    """Ones on the diagonal ``k`` above the main one, zeros elsewhere, in the input's shape."""
    code, k = op.attribute("dtype"), op.attribute("k", 0)
    dtype = None if code is None else dtype_of(code)

    def compute(x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        columns = torch.arange(x.shape[1], device=x.device)
        diagonal = torch.eq(columns - rows, k)
        return diagonal.to(dtype or x.dtype)

    return compute
