"""A running mean of the weights: it lies nearer the middle of the valley than any step does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

State = dict[str, Tensor]


def snapshot(network: nn.Module) -> State:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def follow(mean: State, network: nn.Module, decay: float, step: int) -> None:
    """Move ``mean`` towards the network as it is after ``step`` steps.

    The decay grows with the steps, so that a short run is not held back by where it began.
    Whole numbers, such as counts of batches, are copied.

    Cost: one pass over the parameters, which a GPU takes in a few launches.
    Source: Polyak and Juditsky (1992), doi:10.1137/0330046.
    """
    state = network.state_dict()
    floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
    if floats:
        move = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        move([mean[name] for name in floats], [state[name] for name in floats], step)
    for name in state.keys() - set(floats):
        mean[name].copy_(state[name])
