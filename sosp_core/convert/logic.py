"""Comparisons, logic, bits, selection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseNot": torch.bitwise_not,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


def register_elementwise(op_type: str, function: Callable[..., Tensor]) -> None:
    """Enter a torch function that is the operator as it stands, numpy's broadcasting included."""

    def build(op: Operator) -> Compute:
        return function

    build.__name__ = build.__qualname__ = op_type.lower()
    converters.register(op_type, since=7)(build)


for _op_type, _function in ELEMENTWISE.items():
    register_elementwise(_op_type, _function)


@converters.register("Not")
def not_(op: Operator) -> Compute:
    """True where false."""
    return torch.logical_not


@converters.register("Where", since=9)
def where(op: Operator) -> Compute:
    """``x`` where the condition holds, else ``y``; all three broadcast."""
    return torch.where


@converters.register("IsInf", since=10)
def is_inf(op: Operator) -> Compute:
    """Whether infinite, of the signs asked for."""
    negative, positive = op.attribute("detect_negative", 1), op.attribute("detect_positive", 1)
    if negative and positive:
        return torch.isinf
    if positive:
        return torch.isposinf
    return torch.isneginf if negative else lambda x: torch.zeros_like(x, dtype=torch.bool)


@converters.register("BitShift", since=11)
def bit_shift(op: Operator) -> Compute:
    """``a · 2^b`` or ``a / 2^b`` on unsigned integers, bits shifted out are lost."""
    direction = op.attribute("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise Unconvertible(f"direction {direction!r} is not known")
    return torch.bitwise_left_shift if direction == "LEFT" else torch.bitwise_right_shift
