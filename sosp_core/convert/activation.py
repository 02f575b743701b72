"""Elementwise nonlinearities, and the softmax family."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.operands import static_number
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

# Beyond 40, log(1 + exp(x)) and x are one float64 number; torch's own switch at 20 is not exact.
SOFTPLUS_LINEAR_FROM = 40.0


@converters.register("Relu", since=1)
def relu(op: Operator) -> Compute:
    """``max(x, 0)``."""
    return torch.relu


@converters.register("LeakyRelu", since=1)
def leaky_relu(op: Operator) -> Compute:
    """``x`` where positive, else ``alpha · x``."""
    alpha = op.attribute("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


@converters.register("PRelu", since=7, trainable=(1,))
def prelu(op: Operator) -> Compute:
    """``x`` where not negative, else ``slope · x``; the slope broadcasts to x."""

    def compute(x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x < 0, slope * x, x)

    return compute


@converters.register("ThresholdedRelu", since=1)
def thresholded_relu(op: Operator) -> Compute:
    """``x`` where above ``alpha``, else 0."""
    alpha = op.attribute("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


@converters.register("Elu", since=1)
def elu(op: Operator) -> Compute:
    """``x`` where positive, else ``alpha · (exp(x) − 1)``."""
    alpha = op.attribute("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@converters.register("Celu", since=12)
def celu(op: Operator) -> Compute:
    """``max(x, 0) + min(alpha · (exp(x / alpha) − 1), 0)``."""
    alpha = op.attribute("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


@converters.register("Selu", since=1)
def selu(op: Operator) -> Compute:
    """``gamma · elu(x, alpha)``; opsets before 6 rounded the defaults to four digits."""
    old = op.opset < 6
    alpha = op.attribute("alpha", 1.6732 if old else 1.67326319217681884765625)
    gamma = op.attribute("gamma", 1.0507 if old else 1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


@converters.register("Sigmoid", since=1)
def sigmoid(op: Operator) -> Compute:
    """``1 / (1 + exp(−x))``."""
    return torch.sigmoid


@converters.register("HardSigmoid", since=1)
def hard_sigmoid(op: Operator) -> Compute:
    """``alpha · x + beta``, clipped to 0 … 1."""
    alpha, beta = op.attribute("alpha", 0.2), op.attribute("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


@converters.register("HardSwish", since=14)
def hard_swish(op: Operator) -> Compute:
    """``x`` times a hard sigmoid of slope 1/6."""
    return F.hardswish


@converters.register("Swish", since=24)
def swish(op: Operator) -> Compute:
    """``x · sigmoid(alpha · x)``."""
    alpha = op.attribute("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


@converters.register("SwiGLU", since=28)
def swiglu(op: Operator) -> Compute:
    """``a · sigmoid(alpha · a) · b``."""
    alpha = op.attribute("alpha", 1.0)
    return lambda a, b: a * torch.sigmoid(alpha * a) * b


@converters.register("Mish", since=18)
def mish(op: Operator) -> Compute:
    """``x · tanh(softplus(x))``."""
    return F.mish


@converters.register("Softplus", since=1)
def softplus(op: Operator) -> Compute:
    """``log(1 + exp(x))``."""
    return lambda x: F.softplus(x, threshold=SOFTPLUS_LINEAR_FROM)


@converters.register("Softsign", since=1)
def softsign(op: Operator) -> Compute:
    """``x / (1 + |x|)``."""
    return F.softsign


@converters.register("Shrink", since=9)
def shrink(op: Operator) -> Compute:
    """``x`` moved by ``bias`` toward zero where ``|x| > lambd``, else 0."""
    bias, lambd = op.attribute("bias", 0.0), op.attribute("lambd", 0.5)

    def compute(x: Tensor) -> Tensor:
        outer = torch.where(x < -lambd, x + bias, x - bias)
        return torch.where(x.abs() > lambd, outer, torch.zeros_like(outer)).to(x.dtype)

    return compute


@converters.register("Tanh", since=1)
def tanh(op: Operator) -> Compute:
    """Hyperbolic tangent."""
    return torch.tanh


@converters.register("Erf", since=9)
def erf(op: Operator) -> Compute:
    """Error function."""
    return torch.erf


@converters.register("Gelu", since=20)
def gelu(op: Operator) -> Compute:
    """``x · Φ(x)``, or the approximation by tanh."""
    approximate = op.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise Unconvertible(f"approximation {approximate!r} is not known")
    return lambda x: F.gelu(x, approximate=approximate)


@converters.register("Clip", since=6)
def clip(op: Operator) -> Compute:
    """``min(max(x, low), high)``; the bounds are attributes before opset 11, then optional inputs."""
    fixed_low = op.attribute("min", static_number(op, 1))
    fixed_high = op.attribute("max", static_number(op, 2))

    def compute(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        if fixed_low is not None and fixed_high is not None:
            return torch.clamp(x, fixed_low, fixed_high)
        if fixed_low is not None:
            x = torch.clamp(x, min=fixed_low)
        elif low is not None:
            x = torch.clamp(x, min=low)
        if fixed_high is not None:
            return torch.clamp(x, max=fixed_high)
        return x if high is None else torch.clamp(x, max=high)

    return compute


def over_axis(op: Operator, function: Callable[[Tensor, int], Tensor]) -> Compute:
    """A normalisation along ``axis``; before opset 13, along all axes from ``axis`` on, as one."""
    if op.opset >= 13:
        last = op.attribute("axis", -1)
        return lambda x: function(x, last)
    axis = op.attribute("axis", 1)

    def compute(x: Tensor) -> Tensor:
        start = axis + x.dim() if axis < 0 else axis
        if start == x.dim():
            return function(x.unsqueeze(-1), -1).squeeze(-1)
        return function(x.flatten(start), -1).reshape(x.shape)

    return compute


@converters.register("Softmax", since=1)
def softmax(op: Operator) -> Compute:
    """``exp(x) / Σ exp(x)``."""
    return over_axis(op, torch.softmax)


@converters.register("LogSoftmax", since=1)
def log_softmax(op: Operator) -> Compute:
    """``x − log Σ exp(x)``."""
    return over_axis(op, torch.log_softmax)


@converters.register("Hardmax", since=1)
def hardmax(op: Operator) -> Compute:
    """1 at the first maximum, else 0."""

    def one_hot(x: Tensor, axis: int) -> Tensor:
        index = x.argmax(axis, keepdim=True)
        return torch.zeros_like(x).scatter(axis, index, 1.0)

    return over_axis(op, one_hot)
