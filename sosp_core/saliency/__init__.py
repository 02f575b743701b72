"""Scores for structures: how much the loss rises when one of them goes."""

from sosp_core.saliency import baselines, signed, sosp_h
from sosp_core.saliency.criterion import Criterion, Scene, criteria

__all__ = ["Criterion", "Scene", "baselines", "criteria", "signed", "sosp_h"]
