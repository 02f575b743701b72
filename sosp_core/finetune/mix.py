"""Mixtures of pairs of samples: inputs between the data, where the original still answers.

A network that has learnt its training images by heart answers them with certainty, and says
no more than their labels do. Between two images it does not: with few samples, mixtures carry
most of what distillation can teach (Beyer et al. 2022, "A good teacher is patient and
consistent"). mixup is Zhang et al. 2018; cutmix is Yun et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from sosp_core.config import MIXTURES


@dataclass(frozen=True)
class Mixture:
    """Sample ``i`` of a batch is ``share`` of itself, a single number, the rest of sample ``partner[i]``."""

    partner: Tensor
    share: Tensor


def mix(x: Tensor, names: frozenset[str], generator: torch.Generator) -> tuple[Tensor, Mixture]:
    """Mix a batch of images ``[N, C, H, W]`` with itself by one of the names, drawn evenly."""
    chosen = sorted(names & MIXTURES)
    name = chosen[int(torch.randint(len(chosen), (1,), generator=generator))]
    partner = torch.randperm(len(x), generator=generator).to(x.device)
    share = float(torch.rand((), generator=generator))
    if name == "mixup":
        return share * x + (1 - share) * x[partner], Mixture(partner, _number(share, x))
    return _paste(x, partner, share, generator)


def _paste(x: Tensor, partner: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Mixture]:
    """Replace a rectangle of about ``1 - share`` of the area by the partner's."""
    height, width = x.shape[2:]
    side = sqrt(1 - share)
    top, left = (_edge(n, side, generator) for n in (height, width))
    bottom, right = top + int(side * height), left + int(side * width)
    pasted = x.clone()
    pasted[:, :, top:bottom, left:right] = x[partner][:, :, top:bottom, left:right]
    taken = (bottom - top) * (right - left) / (height * width)
    return pasted, Mixture(partner, _number(1 - taken, x))


def _number(value: float, x: Tensor) -> Tensor:
    return torch.tensor(value, device=x.device)


def _edge(n: int, side: float, generator: torch.Generator) -> int:
    return int(torch.randint(n - int(side * n) + 1, (1,), generator=generator))
