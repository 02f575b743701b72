"""Elementwise arithmetic and mathematical functions."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from sosp_core.convert.operands import static_number
from sosp_core.convert.table import Compute, Operator, converters

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,  # halves to even, as ONNX asks
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}


def register_unary(op_type: str, function: Callable[[Tensor], Tensor]) -> None:
    """Enter a torch function that is the operator as it stands."""

    def build(op: Operator) -> Compute:
        return function

    build.__name__ = build.__qualname__ = op_type.lower()
    converters.register(op_type)(build)


for _op_type, _function in UNARY.items():
    register_unary(_op_type, _function)


@converters.register("Add", since=7, trainable=(0, 1))
def add(op: Operator) -> Compute:
    """``a + b`` with numpy's broadcasting."""
    return torch.add


@converters.register("Sub", since=7)
def sub(op: Operator) -> Compute:
    """``a − b`` with numpy's broadcasting."""
    return torch.sub


@converters.register("Mul", since=7, trainable=(0, 1))
def mul(op: Operator) -> Compute:
    """``a · b`` with numpy's broadcasting."""
    return torch.mul


@converters.register("Div", since=7)
def div(op: Operator) -> Compute:
    """``a / b`` with numpy's broadcasting; integers lose the fraction, toward zero."""

    def compute(a: Tensor, b: Tensor) -> Tensor:
        if a.is_floating_point() or b.is_floating_point():
            return torch.div(a, b)
        return torch.div(a, b, rounding_mode="trunc")

    return compute


@converters.register("Mod", since=10)
def mod(op: Operator) -> Compute:
    """Remainder with the sign of b, or with that of a where ``fmod`` is set."""
    return torch.fmod if op.attribute("fmod", 0) else torch.remainder


@converters.register("Pow", since=7)
def pow_(op: Operator) -> Compute:
    """``a ** b`` in the type of a.

    A constant exponent stays a number: the derivative by the exponent, ``a^b · log a``, would
    be NaN at negative a and poison second derivatives.
    """
    fixed = static_number(op, 1)
    flat = 1 in op.constants and op.constants[1].ndim == 0

    def compute(base: Tensor, exponent: Tensor) -> Tensor:
        if fixed is not None and (flat or base.dim() >= exponent.dim()):
            return torch.pow(base, fixed).to(base.dtype)
        return torch.pow(base, exponent).to(base.dtype)

    return compute


def register_fold(op_type: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Enter an operator of any number of inputs that folds a binary function over them."""

    def build(op: Operator) -> Compute:
        return lambda *operands: functools.reduce(function, operands)

    build.__name__ = build.__qualname__ = op_type.lower()
    converters.register(op_type)(build)


register_fold("Max", torch.maximum)
register_fold("Min", torch.minimum)
register_fold("Sum", torch.add)


@converters.register("Mean")
def mean(op: Operator) -> Compute:
    """The mean of all inputs, element by element."""
    return lambda *operands: functools.reduce(torch.add, operands) / len(operands)
