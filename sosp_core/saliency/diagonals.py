"""Criteria that see each structure alone: first order, and two diagonals of the curvature."""

from __future__ import annotations

import numpy as np

from sosp_core.config import Method
from sosp_core.errors import RecipeInvalid
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.saliency.rows import diagonal, gradient, mean_squared_gradients
from sosp_core.structures.prices import FixedPrices, Prices
from sosp_core.structures.structures import Alive


@criterion(Method.TAYLOR)
def taylor(scene: Scene, alive: Alive) -> Prices:
    """``|∂L/∂m_s|``, the first-order change of the loss.

    Raises:
        RecipeInvalid: Without labels the gradient is zero at the original, and ranks nothing.

    Cost: one gradient pass.
    Source: Molchanov et al. (2019), arXiv:1906.10771, with gates.
    """
    return FixedPrices(np.abs(gradient(_labelled(scene), alive)))


@criterion(Method.FISHER)
def fisher(scene: Scene, alive: Alive) -> Prices:
    """``½ 1/N Σ_n (∂L_n/∂m_s)²``, the diagonal of the empirical Fisher matrix.

    Raises:
        RecipeInvalid: As ``taylor``, and for the same reason.

    Cost: one gradient pass.
    Source: Theis et al. (2018), arXiv:1801.05787.
    """
    return FixedPrices(0.5 * mean_squared_gradients(_labelled(scene), alive))


@criterion(Method.OBD)
def obd(scene: Scene, alive: Alive) -> Prices:
    """``½ G_ss``, the diagonal of the Gauss-Newton matrix over gates.

    Cost: see ``diagonal``.
    Source: LeCun, Denker, Solla (1990), "Optimal Brain Damage", with structures for weights.
    """
    return FixedPrices(0.5 * diagonal(scene.space(), alive, scene.seed))


def _labelled(scene: Scene) -> MaskSpace:
    space = scene.space()
    if not space.task.labelled:
        reason = "it looks at the gradient, which is zero without labels; use obd or a sosp method"
        raise RecipeInvalid(field="prune.method", reason=reason)
    return space
