"""Random views of image batches, drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.config import MIXTURES


def is_image(shape: Sequence[int]) -> bool:
    """Whether ``[N, C, H, W]`` with one, three or four channels, at least 8 pixels a side."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) >= 8


def choose(asked: frozenset[str] | None, shape: Sequence[int], *, mixable: bool = True) -> frozenset[str]:
    """Resolve ``auto``: shifts and mixtures for images, flips for colour ones (digits must not be mirrored).

    Args:
        asked: Names, or None for ``auto``.
        shape: Of the input that is augmented, the first.
        mixable: False where samples cannot be mixed: several inputs, or whole numbers.
    """
    if not is_image(shape):
        return frozenset()
    if asked is None:
        asked = frozenset({"shift"}) | MIXTURES | ({"flip"} if shape[1] == 3 else set())
    return asked if mixable else asked - MIXTURES


def augment(x: Tensor, names: frozenset[str], generator: torch.Generator) -> Tensor:
    """Apply the named augmentations to each image ``[N, C, H, W]`` of a batch independently."""
    if "flip" in names:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(3), x)
    return _shift(x, generator) if "shift" in names else x


def _shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to an eighth of its size; zeros come in from outside."""
    n, _, height, width = x.shape
    reach_y, reach_x = height // 8, width // 8
    padded = F.pad(x, (reach_x, reach_x, reach_y, reach_y))
    dy = torch.randint(0, 2 * reach_y + 1, (n,), generator=generator)[:, None] + torch.arange(height)
    dx = torch.randint(0, 2 * reach_x + 1, (n,), generator=generator)[:, None] + torch.arange(width)
    rows, columns = dy.to(x.device)[:, :, None], dx.to(x.device)[:, None, :]
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)
