"""SOSP-I: the correlations of all pairs of structures, by a Gauss-Newton Hessian."""

from __future__ import annotations

from sosp_core.config import Method
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.rows import gradient_and_root
from sosp_core.structures.prices import AbsolutePrices, Prices
from sosp_core.structures.structures import Alive


@criterion(Method.SOSP_I)
def sosp_i(scene: Scene, alive: Alive) -> Prices:
    """Remove greedily what raises ``Σ_M |θ_sᵀ∇L| + ½ Σ_MM |θ_sᵀ G θ_t|`` least, in mask space.

    The matrix of correlations is not stored: its columns are formed as structures go.

    Cost: see ``gradient_and_root``; then one product of ``A [rows, S]`` with the columns removed.
    Source: Nonnenmacher et al. (2022), arXiv:2110.11395, eq. 4 and algorithm 1.
    """
    expansion = gradient_and_root(scene.space(), alive, scene.seed)
    return AbsolutePrices(*expansion, groups=scene.structures.groups)
