"""Criteria that look at weights alone, or at nothing."""

from __future__ import annotations

import numpy as np

from sosp_core.config import Method
from sosp_core.errors import RecipeInvalid
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.weights import weight_sums
from sosp_core.structures.prices import FixedPrices, Prices
from sosp_core.structures.structures import Alive


@criterion(Method.MAGNITUDE)
def magnitude(scene: Scene, alive: Alive) -> Prices:
    """L2 norm of all weights that fall with a structure, over the square root of their number."""
    squares, numbers = weight_sums(scene, np.square)
    return FixedPrices(np.sqrt(squares / np.maximum(numbers, 1)))


@criterion(Method.MAGNITUDE_L1)
def magnitude_l1(scene: Scene, alive: Alive) -> Prices:
    """Mean size of all weights that fall with a structure."""
    sizes, numbers = weight_sums(scene, np.abs)
    return FixedPrices(sizes / np.maximum(numbers, 1))


@criterion(Method.BN_SCALE)
def bn_scale(scene: Scene, alive: Alive) -> Prices:
    """Mean size of the scales by which BatchNormalization multiplies a structure.

    Structures without one are dearer than all that have one.

    Raises:
        RecipeInvalid: No structure has one: the network has none, or they are folded away.

    Source: Liu et al. (2017), "Network Slimming", arXiv:1708.06519, without its sparsity training.
    """
    scales = {
        n.inputs[1].name for n in scene.model.graph if n.op_type == "BatchNormalization" and n.inputs[1]
    }
    sizes, numbers = weight_sums(scene, np.abs, lambda name, axes, axis: name in scales)
    if not numbers.any():
        reason = "no structure passes a BatchNormalization; use another method"
        raise RecipeInvalid(field="prune.method", reason=reason)
    means = sizes / np.maximum(numbers, 1)
    return FixedPrices(np.where(numbers > 0, means, 2 * means.max() + 1))


@criterion(Method.RANDOM)
def random(scene: Scene, alive: Alive) -> Prices:
    """Uniform numbers from the recipe's seed: the floor any criterion has to beat."""
    return FixedPrices(np.random.default_rng(scene.seed).random(scene.structures.count))
