"""A running mean of the weights: it lies nearer the middle of the valley than any step does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sosp_core.convert.network import Network

State = dict[str, Tensor]


def snapshot(network: nn.Module) -> State:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def follow(mean: State, network: Network, decay: float, step: int) -> None:
    """Move ``mean`` towards the network as it is after ``step`` steps.

    The decay grows with the steps, so that a short run is not held back by where it began.
    What training does not move is copied: the mean of a mask's minus infinity would be no number.

    Cost: one pass over the parameters, which a GPU takes in a few launches.
    Source: Polyak and Juditsky (1992), doi:10.1137/0330046.
    """
    moving = {id(tensor) for tensor in (*network.parameters(), *network.statistics())}
    state = network.state_dict(keep_vars=True)
    averaged = [name for name, tensor in state.items() if id(tensor) in moving]
    if averaged:
        move = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        move([mean[name] for name in averaged], [state[name] for name in averaged], step)
    for name in state.keys() - set(averaged):
        mean[name].copy_(state[name])
