"""Normalisations."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sosp_core.convert.table import Compute, Operator, Unconvertible, converters


class BatchNormalization(nn.Module):
    """``y = scale · (x − mean) / sqrt(var + epsilon) + bias``, statistics per channel.

    In eval mode mean and var are the inputs. In train mode they are the batch's, and the
    input tensors move toward them in place: ``running ← momentum · running + (1 − momentum) · batch``,
    with the population variance, as ONNX defines it (torch's own layers use the sample variance).

    Args:
        always_batch: The node itself asks for batch statistics (``training_mode``); it then
            gives the moved statistics as outputs and leaves its inputs alone.
    """

    def __init__(self, epsilon: float, momentum: float, always_batch: bool, n_outputs: int) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.always_batch, self.n_outputs = always_batch, n_outputs

    def forward(
        self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """Normalise ``x [N, C, ...]``."""
        if not (self.training or self.always_batch):
            return F.batch_norm(x, mean, var, scale, bias, training=False, eps=self.epsilon)
        moved_mean, moved_var = mean.detach().clone(), var.detach().clone()
        y = F.batch_norm(
            x, moved_mean, moved_var, scale, bias, training=True, momentum=1 - self.momentum, eps=self.epsilon
        )
        n = x.numel() // x.shape[1]
        kept = self.momentum * var.detach()
        moved_var = kept + (moved_var - kept) * ((n - 1) / n)
        if self.always_batch:
            return (y, moved_mean, moved_var)[: self.n_outputs] if self.n_outputs > 1 else y
        with torch.no_grad():
            mean.copy_(moved_mean)
            var.copy_(moved_var)
        return y


@converters.register("BatchNormalization", since=7, trainable=(1, 2))
def batch_normalization(op: Operator) -> Compute:
    """See the class; opset 7 and 8 may ask for statistics per element (``spatial=0``)."""
    if not op.attribute("spatial", 1):
        raise Unconvertible("statistics per element (spatial=0)")
    training = bool(op.attribute("training_mode", 0))
    if op.n_outputs > 1 and not training:
        raise Unconvertible("statistics as outputs without training_mode")
    epsilon, momentum = op.attribute("epsilon", 1e-5), op.attribute("momentum", 0.9)
    return BatchNormalization(epsilon, momentum, training, op.n_outputs)


@converters.register("InstanceNormalization", since=1, trainable=(1, 2))
def instance_normalization(op: Operator) -> Compute:
    """Mean and population variance of every sample and channel, over the spatial axes."""
    epsilon = op.attribute("epsilon", 1e-5)

    def compute(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return torch.group_norm(x, x.shape[1], scale, bias, epsilon)

    return compute


@converters.register("GroupNormalization", since=18, trainable=(1, 2))
def group_normalization(op: Operator) -> Compute:
    """Mean and population variance of every sample and group of channels.

    Scale and bias have an entry for each group at opsets 18 to 20, for each channel from 21.
    """
    groups, epsilon = op.attribute("num_groups"), op.attribute("epsilon", 1e-5)
    _require_float_stash(op)

    def compute(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if op.opset < 21:
            each = x.shape[1] // groups
            scale, bias = (v.reshape(-1, 1).expand(groups, each).reshape(-1) for v in (scale, bias))
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return compute


@converters.register("LayerNormalization", since=17, trainable=(1, 2))
def layer_normalization(op: Operator) -> Compute:
    """Mean and population variance over the axes from ``axis`` on.

    Scale and bias broadcast to x. The optional outputs are mean and ``1 / sqrt(var + epsilon)``.
    """
    axis, epsilon = op.attribute("axis", -1), op.attribute("epsilon", 1e-5)
    _require_float_stash(op)

    def compute(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = list(x.shape[axis:])
        if scale.shape == x.shape[axis:] and (bias is None or bias.shape == scale.shape):
            y = F.layer_norm(x, shape, scale, bias, epsilon)
        else:
            y = F.layer_norm(x, shape, None, None, epsilon) * scale
            y = y if bias is None else y + bias
        if op.n_outputs == 1:
            return y
        axes = list(range(axis % x.dim(), x.dim()))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (y, mean, torch.rsqrt(var + epsilon))[: op.n_outputs]

    return compute


@converters.register("RMSNormalization", since=23, trainable=(1,))
def rms_normalization(op: Operator) -> Compute:
    """``y = scale · x / sqrt(mean(x²) + epsilon)``, the mean over the axes from ``axis`` on."""
    axis, epsilon = op.attribute("axis", -1), op.attribute("epsilon", 1e-5)
    _require_float_stash(op)

    def compute(x: Tensor, scale: Tensor) -> Tensor:
        axes = list(range(axis % x.dim(), x.dim()))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale

    return compute


def _require_float_stash(op: Operator) -> None:
    if op.attribute("stash_type", 1) != 1:
        raise Unconvertible("statistics in another type than float32 (stash_type)")


@converters.register("LpNormalization", since=1)
def lp_normalization(op: Operator) -> Compute:
    """``x / ‖x‖_p`` along an axis; where the norm is zero, zero."""
    axis, p = op.attribute("axis", -1), op.attribute("p", 2)

    def compute(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
        return x / torch.where(norm == 0, torch.ones_like(norm), norm)

    return compute


@converters.register("LRN", since=1)
def local_response_normalization(op: Operator) -> Compute:
    """``x / (bias + alpha · s)^beta``, s the mean square over a window of ``size`` channels.

    The window reaches floor((size − 1) / 2) channels back and ceil((size − 1) / 2) ahead;
    channels outside count as zero.
    """
    size, alpha, beta = op.attribute("size"), op.attribute("alpha", 1e-4), op.attribute("beta", 0.75)
    bias = op.attribute("bias", 1.0)
    back, ahead = (size - 1) // 2, math.ceil((size - 1) / 2)

    def compute(x: Tensor) -> Tensor:
        square = x.square().reshape(x.shape[0], 1, x.shape[1], -1)
        mean = F.avg_pool2d(F.pad(square, (0, 0, back, ahead)), (size, 1), 1)
        return x / torch.pow(bias + alpha * mean.reshape(x.shape), beta)

    return compute


@converters.register("MeanVarianceNormalization", since=9)
def mean_variance_normalization(op: Operator) -> Compute:
    """``(x − mean) / (std + 1e-9)`` over ``axes``; the constant stands in ONNX's own definition."""
    axes = op.attribute("axes", [0, 2, 3])

    def compute(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (var.sqrt() + 1e-9)

    return compute
