"""Criteria that look at weights alone, or at nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from sosp_core.config import Method
from sosp_core.errors import RecipeInvalid
from sosp_core.ir.view import is_float
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.structures.prices import FixedPrices, Prices, Scores
from sosp_core.structures.structures import STAYS, Alive


@criterion(Method.MAGNITUDE)
def magnitude(scene: Scene, alive: Alive) -> Prices:
    """L2 norm of all weights that fall with a structure, over the square root of their number."""
    squares, numbers = _sums(scene, np.square)
    return FixedPrices(np.sqrt(squares / np.maximum(numbers, 1)))


@criterion(Method.MAGNITUDE_L1)
def magnitude_l1(scene: Scene, alive: Alive) -> Prices:
    """Mean size of all weights that fall with a structure."""
    sizes, numbers = _sums(scene, np.abs)
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
    sizes, numbers = _sums(scene, np.abs, only=scales)
    if not numbers.any():
        reason = "no structure passes a BatchNormalization; use another method"
        raise RecipeInvalid(field="prune.method", reason=reason)
    means = sizes / np.maximum(numbers, 1)
    return FixedPrices(np.where(numbers > 0, means, 2 * means.max() + 1))


@criterion(Method.RANDOM)
def random(scene: Scene, alive: Alive) -> Prices:
    """Uniform numbers from the recipe's seed: the floor any criterion has to beat."""
    return FixedPrices(np.random.default_rng(scene.seed).random(scene.structures.count))


def _sums(
    scene: Scene,
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    only: Collection[str | None] | None = None,
) -> tuple[Scores, Scores]:
    """For each structure: the sum of a measure over its weights, and their number."""
    sums, numbers = np.zeros(scene.structures.count), np.zeros(scene.structures.count)
    for name, axes in scene.structures.slices.items():
        value = scene.model.graph.initializers[name]
        if not is_float(value) or value.const_value is None or (only is not None and name not in only):
            continue
        measured = measure(value.const_value.numpy().astype(np.float64))
        for axis, members in axes.items():
            rows = np.moveaxis(measured, axis, 0).reshape(len(members), -1)
            cut = members != STAYS
            np.add.at(sums, members[cut], rows[cut].sum(axis=1))
            np.add.at(numbers, members[cut], rows.shape[1])
    return sums, numbers
