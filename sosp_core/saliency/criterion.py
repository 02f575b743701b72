"""What every criterion offers, and the table of criteria by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from sosp_core.config import Method
from sosp_core.data.task import Task
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
Pricing = Callable[[Scene, Alive], Prices]


@dataclass(frozen=True)
class Criterion:
    """How structures are priced, and what the loss is that they are priced by.

    Attributes:
        answers: Scores of classes are compared with the original's as numbers. A network that is
            sure of its training samples has next to no loss on them, and next to no curvature: a
            few samples that it doubts would decide by themselves.
    """

    price: Pricing
    answers: bool

    def __call__(self, scene: Scene, alive: Alive) -> Prices:
        """Prices at a mask."""
        return self.price(scene, alive)

    def task(self, task: Task) -> Task:
        """What ``Scene.space`` has to compare outputs by."""
        return task.of_answers() if self.answers else task


criteria: dict[Method, Criterion] = {}


def criterion(method: Method, *, answers: bool = False) -> Callable[[Pricing], Pricing]:
    """Decorate the pricing that ``method`` names; see ``Criterion`` for ``answers``."""

    def add(function: Pricing) -> Pricing:
        if method in criteria:
            raise RuntimeError(f"a second criterion for {method}")
        criteria[method] = Criterion(function, answers)
        return function

    return add
