"""Scores for structures: how much the loss rises when one of them goes."""

from sosp_core.saliency import baselines, diagonals, recovery, signed, sosp_h, sosp_i
from sosp_core.saliency.criterion import Criterion, Scene, criteria

__all__ = [
    "Criterion",
    "Scene",
    "baselines",
    "criteria",
    "diagonals",
    "recovery",
    "signed",
    "sosp_h",
    "sosp_i",
]
