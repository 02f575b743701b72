"""Inner tensors of the original that the slim network is asked to reproduce.

A slim network keeps the names of its tensors and, of each, some channels. Wherever the plan
says which, the original's values there are targets: with little data they teach far more than
the outputs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.structures.structures import Alive, Members, Structures, kept_positions

TINY = 1e-12


@dataclass(frozen=True)
class Feature:
    """One tensor, and by axis that a plan cuts, the positions that the slim network keeps of it."""

    name: str
    kept: Mapping[int, tuple[int, ...]]


def shared_features(structures: Structures, alive: Alive, *networks: Network) -> tuple[Feature, ...]:
    """Every gated tensor that all the networks compute, once."""
    gated = dict.fromkeys(gate.value for gate in structures.gates)
    return tuple(
        Feature(name, _kept(structures.axes[name], alive))
        for name in gated
        if all(name in network.value_names for network in networks)
    )


def _kept(axes: Mapping[int, Members], alive: Alive) -> dict[int, tuple[int, ...]]:
    return {axis: tuple(map(int, kept_positions(members, alive))) for axis, members in axes.items()}


class FeatureLoss:
    """Mean over features of the squared error over the mean square of the original there.

    Which positions are compared is laid out on the device once: a copy to it in every step would
    make the host wait for it.
    """

    def __init__(self, features: Sequence[Feature], device: torch.device) -> None:
        self.names = tuple(feature.name for feature in features)
        self._places = tuple(
            {axis: torch.tensor(kept, device=device) for axis, kept in f.kept.items()} for f in features
        )

    def __call__(self, got: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
        """The loss of the student's tensors against the original's, both in the order of ``names``."""
        terms = []
        for places, student, target in zip(self._places, got, original, strict=True):
            for axis, kept in places.items():
                if len(kept) < target.shape[axis]:
                    target = target.index_select(axis, kept)
            target = target.float()
            scale = torch.linalg.vector_norm(target).square() / target.numel() + TINY
            terms.append(F.mse_loss(student.float(), target) / scale)
        return torch.stack(terms).mean()
