"""What a node computes from nothing but settled tensors: the same for every sample and position.

A *settled* tensor is known before any input is: all it depends on is stored. It is written down
with as many axes as it has, and an axis along which it does not vary has length 1, whatever its
length in a run: ``[1, C, 1, 1]`` says it for every batch and every image size. Whatever treats
positions alike computes on that form what it computes on the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor, nn

from sosp_core.convert.table import UNFIT, Compute
from sosp_core.ir.view import attribute
from sosp_core.ops.pointwise import NARY, UNARY

#: By input position; None where the node leaves it out. Real numbers are float64.
Operands = Sequence[Tensor | None]

#: Computes on settled tensors what it computes on whole ones: by element, or a mean, or moving axes.
ALIKE = frozenset((*UNARY, *NARY, *"GlobalAveragePool GlobalMaxPool ReduceMean Transpose Unsqueeze".split()))


def sum_of_nothing(node: ir.Node, operands: Operands, rank: int | None) -> Tensor | None:
    """What a node makes of an axis without entries: its bias, or zero. None if it is no plain sum.

    Args:
        node: It reads the axis and does not pass it on.
        operands: Those that are stored; others None.
        rank: Of its output.
    """
    if node.domain != "" or rank is None:
        return None
    bias = operands[2] if len(operands) > 2 else None
    given = len(node.inputs) > 2 and node.inputs[2] is not None
    zero = torch.zeros((1,) * rank, dtype=torch.float64)
    if node.op_type == "MatMul" or (node.op_type in {"Conv", "ConvTranspose", "Gemm"} and not given):
        return zero
    if bias is None:  # it is computed, or the node does something else
        return None
    if node.op_type in {"Conv", "ConvTranspose"}:
        return bias.reshape(1, -1, *[1] * (rank - 2))
    if node.op_type == "Gemm" and bias.reshape(-1).shape[0] == bias.shape[-1:].numel():
        return bias.reshape(1, -1) * float(attribute(node, "beta", 1.0))
    return None


def settle(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | None:
    """A node's first output where all its operands are settled; None if that cannot be said.

    Args:
        node: All its inputs are stored or settled.
        operands: Them.
        compute: What it does.
    """
    special = _SPECIAL.get(node.op_type)
    if node.domain != "" or (special is None and node.op_type not in ALIKE):
        return None
    if isinstance(compute, nn.Module):
        compute.eval()
    try:
        result = special(node, operands, compute) if special else compute(*operands)
    except UNFIT:  # it has its reasons; then it is not settled
        return None
    first = result[0] if isinstance(result, tuple) else result
    return first.double() if first is not None and first.is_floating_point() else first


def _reshaped(node: ir.Node, operands: Operands) -> Tensor | None:
    """Numbers keep their order: what varies along the last axis only, still does, if that stays as long."""
    x = operands[0]
    before, after = (None if v is None else v.shape for v in (node.inputs[0], node.outputs[0]))
    if x is None or before is None or after is None or x.ndim == 0 or x.numel() != x.shape[-1]:
        return None
    same = len(after) > 0 and isinstance(before[-1], int) and before[-1] == after[-1]
    return x.reshape(*[1] * (len(after) - 1), -1) if same or x.numel() == 1 else None


def _sliced(node: ir.Node, operands: Operands) -> Tensor | None:
    """Along axes where nothing varies a part is like the whole."""
    x = operands[0]
    axes = operands[3] if len(operands) > 3 else None
    if x is None or axes is None:
        return None
    return x if all(x.shape[int(axis)] == 1 for axis in axes.reshape(-1)) else None


#: What only lays numbers out anew, whatever sizes and places it is given: those may be living.
LAYOUTS: Mapping[str, Callable[[ir.Node, Operands], Tensor | None]] = {"Reshape": _reshaped, "Slice": _sliced}


Special = Callable[[ir.Node, Operands, Compute], "Tensor | tuple[Tensor, ...] | None"]


def _normalised_channels(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | tuple[Tensor, ...]:
    """Channels are told apart by the scale: all of them are needed."""
    x, scale = _both(operands)
    return compute(x.expand(-1, scale.numel(), *x.shape[2:]), *operands[1:])


def _normalised_groups(
    node: ir.Node, operands: Operands, compute: Compute
) -> Tensor | tuple[Tensor, ...] | None:
    """Groups are formed of all channels; how many those are, only a whole axis says."""
    x, _ = _both(operands)
    return compute(*operands) if x.shape[1] > 1 else None


def _normalised_rows(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | tuple[Tensor, ...]:
    """Mean and spread of equal numbers are those of one; the scale wants its own axes whole."""
    x, scale = _both(operands)
    return compute(x.expand(*x.shape[: x.ndim - scale.ndim], *scale.shape), *operands[1:])


def _concatenated(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | None:
    """Parts that are alike, put behind each other along an axis where nothing varies."""
    first, *others = operands
    axis = attribute(node, "axis", 0)
    if first is None or first.shape[axis] != 1:
        return None
    return first if all(x is not None and torch.equal(x, first) for x in others) else None


def _product(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | tuple[Tensor, ...] | None:
    """Rows of a settled matrix are alike; the axis that is summed over has to be whole."""
    x, weight = _both(operands)
    if weight.ndim < 2 or attribute(node, "transA", 0):
        return None
    summed = weight.shape[-1] if attribute(node, "transB", 0) else weight.shape[-2]
    return compute(x.expand(*x.shape[:-1], summed), *operands[1:])


def _convolution(node: ir.Node, operands: Operands, compute: Compute) -> Tensor | None:
    """A kernel multiplies a constant with its sum; borders, where it reads zeros, would show."""
    x, weight = _both(operands)
    bordered = attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or any(
        attribute(node, "pads", ())
    )
    if bordered and bool(x.any()):
        return None
    groups = attribute(node, "group", 1)
    sums = weight.flatten(2).sum(2)  # [C_out, C_in / groups]
    channels = x.reshape(-1).expand(groups * sums.shape[1]).reshape(groups, -1, 1)
    y = (sums.reshape(groups, -1, sums.shape[1]) @ channels).reshape(-1)
    bias = operands[2] if len(operands) > 2 else None
    return (y if bias is None else y + bias).reshape(1, -1, *[1] * (x.ndim - 2))


def _both(operands: Operands) -> tuple[Tensor, Tensor]:
    x, weight = operands[:2]
    if x is None or weight is None:  # the definitions of these operators require both
        raise ValueError("an operand is missing")
    return x, weight


_SPECIAL: Mapping[str, Special] = {
    "BatchNormalization": _normalised_channels,
    "Concat": _concatenated,
    "Conv": _convolution,
    "Gemm": _product,
    "GroupNormalization": _normalised_groups,
    "InstanceNormalization": _normalised_channels,
    "LayerNormalization": _normalised_rows,
    "MatMul": _product,
}
