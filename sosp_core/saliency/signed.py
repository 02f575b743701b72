"""Signed SOSP: the quadratic model of the loss itself, instead of a bound of it.

Where SOSP-H and SOSP-I sum absolute values, this keeps the signs: two structures that undo
each other are cheap to remove together, two that back each other up are dear. The Hessian is
its Gauss-Newton part, held as its square root ``A`` so that no S x S matrix is ever formed.
"""

from __future__ import annotations

from sosp_core.config import Method
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.rows import gradient_and_root
from sosp_core.structures.prices import Prices, QuadraticPrices
from sosp_core.structures.structures import Alive


@criterion(Method.SOSP_SIGNED, answers=True)
def sosp_signed(scene: Scene, alive: Alive) -> Prices:
    """Minimise ``−Σ_M ∂L/∂m + ½ Σ_MM G`` with G the Gauss-Newton matrix over gates at this mask.

    Cost: see ``gradient_and_root``.
    """
    expansion = gradient_and_root(scene.space(), alive, scene.seed)
    return QuadraticPrices(*expansion, groups=scene.structures.groups)
