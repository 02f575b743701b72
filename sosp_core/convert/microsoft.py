"""Operators of ONNX Runtime's own domain, as its graph optimiser leaves them in files."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.conv import conv
from sosp_core.convert.linear import gemm
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

DOMAIN = "com.microsoft"


@converters.register("Gelu", domain=DOMAIN)
def ms_gelu(op: Operator) -> Compute:
    """``x · Φ(x)``."""
    return F.gelu


@converters.register("BiasGelu", domain=DOMAIN, trainable=(1,))
def bias_gelu(op: Operator) -> Compute:
    """``gelu(x + bias)``."""
    return lambda x, bias: F.gelu(x + bias)


@converters.register("FastGelu", domain=DOMAIN, trainable=(1,))
def fast_gelu(op: Operator) -> Compute:
    """``gelu(x + bias)`` by tanh; the bias is optional."""
    return lambda x, bias=None: F.gelu(x if bias is None else x + bias, approximate="tanh")


@converters.register("QuickGelu", domain=DOMAIN)
def quick_gelu(op: Operator) -> Compute:
    """``x · sigmoid(alpha · x)``."""
    alpha = op.attribute("alpha", 1.702)
    return lambda x: x * torch.sigmoid(alpha * x)


@converters.register("FusedMatMul", domain=DOMAIN, trainable=(0, 1))
def fused_matmul(op: Operator) -> Compute:
    """``alpha · A' B'``; the prime optionally swaps the last two axes."""
    alpha, flip_a, flip_b = op.attribute("alpha", 1.0), op.attribute("transA", 0), op.attribute("transB", 0)
    if op.attribute("transBatchA", 0) or op.attribute("transBatchB", 0):
        raise Unconvertible("transposed batch axes")

    def compute(a: Tensor, b: Tensor) -> Tensor:
        left = a.transpose(-1, -2) if flip_a and a.dim() > 1 else a
        right = b.transpose(-1, -2) if flip_b and b.dim() > 1 else b
        return torch.mul(torch.matmul(left, right), alpha)

    return compute


def _activation(op: Operator) -> Callable[[Tensor], Tensor]:
    """What a fused operator does last: FusedConv lists its numbers, FusedGemm gives each a name."""
    name, numbers = op.attribute("activation", ""), op.attribute("activation_params") or []

    def number(position: int, default: float) -> float:
        usual = numbers[position] if position < len(numbers) else default
        return float(op.attribute(f"activation_{('alpha', 'beta')[position]}", usual))

    if name == "Clip" and len(numbers) == 2:
        return lambda x: torch.clamp(x, numbers[0], numbers[1])
    if name == "LeakyRelu":
        slope = number(0, 0.01)
        return lambda x: F.leaky_relu(x, slope)
    if name == "Elu":
        scale = number(0, 1.0)
        return lambda x: F.elu(x, scale)
    if name == "HardSigmoid":
        slope, middle = number(0, 0.2), number(1, 0.5)
        return lambda x: torch.clamp(slope * x + middle, 0, 1)
    if name not in _PLAIN:
        raise Unconvertible(f"fused activation {name!r}")
    return _PLAIN[name]


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Tanh": torch.tanh,
}


@converters.register("FusedConv", domain=DOMAIN, trainable=(1, 2))
def fused_conv(op: Operator) -> Compute:
    """``activation(conv(x, w, b) + z)``; b and z are optional."""
    convolve, activate = cast(Callable[..., Tensor], conv(op)), _activation(op)

    def compute(x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        y = convolve(x, w, b)
        return activate(y if z is None else y + z)

    return compute


@converters.register("FusedGemm", domain=DOMAIN, trainable=(0, 1, 2))
def fused_gemm(op: Operator) -> Compute:
    """``activation(gemm(a, b, c))``."""
    multiply, activate = cast(Callable[..., Tensor], gemm(op)), _activation(op)
    return lambda a, b, c=None: activate(multiply(a, b, c))


@converters.register("SkipLayerNormalization", domain=DOMAIN, trainable=(2, 3, 4))
def skip_layer_normalization(op: Operator) -> Compute:
    """Layer normalisation of ``x + skip + bias`` over the last axis; the fourth output is that sum."""
    epsilon = op.attribute("epsilon", 1e-5)

    def compute(
        x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        total = x + skip if bias is None else x + skip + bias
        y = F.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
        if op.n_outputs == 1:
            return y
        var, mean = torch.var_mean(total, -1, correction=0, keepdim=True)
        return (y, mean, torch.rsqrt(var + epsilon), total)[: op.n_outputs]

    return compute


@converters.register("SkipSimplifiedLayerNormalization", domain=DOMAIN, trainable=(2, 3))
def skip_simplified_layer_normalization(op: Operator) -> Compute:
    """Division of ``x + skip + bias`` by its root mean square; the fourth output is that sum."""
    epsilon = op.attribute("epsilon", 1e-5)

    def compute(
        x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        total = x + skip if bias is None else x + skip + bias
        inverse = torch.rsqrt(total.square().mean(-1, keepdim=True) + epsilon)
        y = total * inverse * gamma
        if op.n_outputs == 1:
            return y
        return (y, torch.zeros_like(inverse), inverse, total)[: op.n_outputs]

    return compute


@converters.register("SimplifiedLayerNormalization", trainable=(1,))
def simplified_layer_normalization(op: Operator) -> Compute:
    """``scale · x / sqrt(mean(x²) + epsilon)`` over the axes from ``axis`` on.

    ONNX Runtime's, yet it stands in ONNX's domain. The optional output is the inverse root.
    """
    axis, epsilon = op.attribute("axis", -1), op.attribute("epsilon", 1e-5)

    def compute(x: Tensor, scale: Tensor) -> Tensor | tuple[Tensor, ...]:
        axes = list(range(axis % x.dim(), x.dim()))
        inverse = torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
        y = x * inverse * scale
        return (y, inverse) if op.n_outputs > 1 else y

    return compute
