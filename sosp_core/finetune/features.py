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


def feature_loss(features: Sequence[Feature], got: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Mean over features of the squared error over the mean square of the original there."""
    terms = []
    for feature, student, teacher in zip(features, got, original, strict=True):
        target = teacher
        if len(feature.kept) < teacher.shape[feature.axis]:
            target = teacher.index_select(feature.axis, torch.tensor(feature.kept, device=teacher.device))
        target = target.float()
        scale = torch.linalg.vector_norm(target).square() / target.numel() + TINY
        terms.append(F.mse_loss(student.float(), target) / scale)
    return torch.stack(terms).mean()
