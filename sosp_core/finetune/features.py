"""Inner tensors of the original that the slim network is asked to reproduce.

A slim network keeps the names of its tensors and, of each, some channels. Wherever the plan
says which, the original's values there are targets: with little data they teach far more than
the outputs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.structures.structures import Alive, Structures, kept_positions

TINY = 1e-12


@dataclass(frozen=True)
class Feature:
    """One tensor and the positions along an axis that the slim network keeps of it."""

    name: str
    axis: int
    kept: tuple[int, ...]


def shared_features(structures: Structures, alive: Alive, *networks: Network) -> tuple[Feature, ...]:
    """Every gated tensor that all the networks compute, once."""
    found: dict[str, Feature] = {}
    for gate in structures.gates:
        if gate.value not in found and all(gate.value in n.value_names for n in networks):
            kept = tuple(int(i) for i in kept_positions(gate.members, alive))
            found[gate.value] = Feature(gate.value, gate.axis, kept)
    return tuple(found.values())


class FeatureLoss:
    """Mean over features of the squared error over the mean square of the original there.

    Which positions are compared is laid out on the device once: a copy to it in every step would
    make the host wait for it.
    """

    def __init__(self, features: Sequence[Feature], device: torch.device) -> None:
        self.names = tuple(feature.name for feature in features)
        self._places = tuple((f.axis, torch.tensor(f.kept, device=device)) for f in features)

    def __call__(self, got: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
        """The loss of the student's tensors against the original's, both in the order of ``names``."""
        terms = []
        for (axis, kept), student, teacher in zip(self._places, got, original, strict=True):
            narrowed = len(kept) < teacher.shape[axis]
            target = (teacher.index_select(axis, kept) if narrowed else teacher).float()
            scale = torch.linalg.vector_norm(target).square() / target.numel() + TINY
            terms.append(F.mse_loss(student.float(), target) / scale)
        return torch.stack(terms).mean()
