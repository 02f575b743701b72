"""Random views of image batches, drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.config import MIXTURES
from sosp_core.data.dataset import Array
from sosp_core.data.task import Kind, Task
from sosp_core.errors import RecipeInvalid

#: What torch neither mirrors nor indexes everywhere, as numbers of the same bits: none is computed with.
SAME_BITS = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


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


def suited(field: str, asked: frozenset[str] | None, inputs: Mapping[str, Array]) -> frozenset[str]:
    """The augmentations for data of one or several inputs, of which the first is augmented.

    Args:
        field: Of the recipe, that asks for them.
        asked: Names, or None for ``auto``, which leaves alone what would no longer fit together.
        inputs: By name.

    Raises:
        RecipeInvalid: Some are asked for by name, but another input has places as well.
    """
    first, *others = inputs.values()
    if is_image(first.shape) and any(x.ndim == 4 and max(x.shape[2:]) > 1 for x in others):
        if asked:
            reason = "several inputs are images, and only the first of them would be changed; use none"
            raise RecipeInvalid(field=field, reason=reason)
        return frozenset()
    return choose(asked, first.shape, mixable=not others and first.dtype.kind == "f")


def keeps_labels(task: Task, labels: Array | None) -> bool:
    """Whether what labels say of a sample they say of its views: its class, or yes or no to each class.

    Masks would have to move along, and nobody knows what becomes of other values.
    """
    if labels is None or not task.labelled:
        return True
    kind = task.kinds[task.first]
    return kind is not Kind.VALUES and labels.ndim <= (1 if kind in (Kind.LOGITS, Kind.PROBABILITIES) else 2)


def augment(x: Tensor, names: frozenset[str], generator: torch.Generator) -> Tensor:
    """Apply the named augmentations to each image ``[N, C, H, W]`` of a batch independently."""
    kind = x.dtype
    return _augment(x.view(SAME_BITS.get(kind, kind)), names, generator).view(kind)


def _augment(x: Tensor, names: frozenset[str], generator: torch.Generator) -> Tensor:
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
