"""What every criterion offers, and the table of criteria by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from sosp_core.config import Method
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.structures.prices import Prices
from sosp_core.structures.structures import Alive, Structures


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a criterion may look at.

    Attributes:
        space: The network in mask space over the calibration data; built on first use only.
    """

    model: ir.Model
    structures: Structures
    space: Callable[[], MaskSpace]
    seed: int


#: Prices of the structures at a mask; entries of removed structures mean nothing.
Criterion = Callable[[Scene, Alive], Prices]

criteria: dict[Method, Criterion] = {}


def criterion(method: Method) -> Callable[[Criterion], Criterion]:
    """Decorate the criterion that ``method`` names."""

    def add(function: Criterion) -> Criterion:
        if method in criteria:
            raise RuntimeError(f"a second criterion for {method}")
        criteria[method] = function
        return function

    return add
