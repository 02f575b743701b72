"""SOSP-H: second-order saliency with the correlations of all structures, at the cost of one HVP."""

from __future__ import annotations

import numpy as np

from sosp_core.config import Method
from sosp_core.curvature.hvp import gradient_and_hvp
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.structures.prices import FixedPrices, Prices
from sosp_core.structures.structures import Alive


@criterion(Method.SOSP_H)
def sosp_h(scene: Scene, alive: Alive) -> Prices:
    """``λ(s) = |θ_sᵀ∇L| + ½ |θ_sᵀ ∇²L θ_struc|`` with ``θ_struc = Σ_s θ_s``, in mask space.

    There it reads ``|∂L/∂m_s| + ½ |(∇²_m L · m)_s|``: one gradient and one Hessian-vector product
    over S gates. At a mask that already lacks structures the sums run over those that remain.

    Cost: one pass of ``gradient_and_hvp`` over the calibration data.
    Source: Nonnenmacher et al. (2022), arXiv:2110.11395, eq. 5.
    """
    space = scene.space()
    mask = space.mask(alive)
    gradient, product = gradient_and_hvp(space.loss, mask, mask, space.batches())
    scores = gradient.abs() + 0.5 * product.abs()
    return FixedPrices(scores.cpu().numpy().astype(np.float64))
