"""Let the constant in place of a branch that is gone be the mean of what the branch gave.

Masking leaves what the branch gives when nothing goes in: its biases. Least squares with nothing
to predict from but a constant is the mean, over samples and wherever the constant does not vary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.structures.structures import Alive, Structures, kept_positions
from sosp_core.surgery.vanish import STANDS_FOR


def put_means(
    slim: ir.Model,
    structures: Structures,
    alive: Alive,
    network: Network,
    batches: Iterable[Sequence[Tensor]],
) -> ir.Model:
    """Set the constants of ``slim`` that ``vanish`` made, in place.

    Args:
        slim: The model after surgery.
        structures: Of the original.
        alive: The plan.
        network: The original as a torch network, on any device.
        batches: Inputs in graph order, on the same device.

    Cost: where a branch is gone, one forward pass of the original over ``batches``.
    """
    constants = {
        str(value.meta[STANDS_FOR]): value
        for value in slim.graph.initializers.values()
        if STANDS_FOR in value.meta
    }
    means = _means(network, batches, list(constants)) if constants else {}
    for name, mean in means.items():
        for axis, members in structures.axes.get(name, {}).items():
            mean = np.take(mean, kept_positions(members, alive), axis=axis)
        _set(constants[name], mean)
    return slim


@torch.no_grad()
def _means(network: Network, batches: Iterable[Sequence[Tensor]], names: list[str]) -> dict[str, np.ndarray]:
    """Mean over samples of each named tensor, by position."""
    sums: dict[str, Tensor] = {}
    samples = 0
    for inputs in batches:
        samples += len(inputs[0])
        for name, x in zip(names, network.tensors(inputs, names), strict=True):
            total = x.double().sum(0, keepdim=True)
            sums[name] = sums[name] + total if name in sums else total
    return {name: (total / samples).cpu().numpy() for name, total in sums.items()}


def _set(value: ir.Value, mean: np.ndarray) -> None:
    """The mean along all axes that the constant does not vary along."""
    if value.const_value is None:  # made with a value
        return
    kind, shape = value.const_value.dtype, value.const_value.shape.numpy()
    alike = tuple(axis for axis, n in enumerate(shape) if n == 1)
    array = mean.mean(axis=alike, keepdims=True).astype(kind.numpy())
    value.const_value = ir.Tensor(np.ascontiguousarray(array), dtype=kind, name=value.name)
