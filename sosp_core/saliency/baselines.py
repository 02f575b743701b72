"""Criteria to compare with: weight magnitude and chance."""

from __future__ import annotations

import numpy as np

from sosp_core.config import Method
from sosp_core.ir.view import is_float
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.structures.prices import FixedPrices, Prices
from sosp_core.structures.structures import STAYS, Alive


@criterion(Method.MAGNITUDE)
def magnitude(scene: Scene, alive: Alive) -> Prices:
    """L2 norm of all weights that fall with a structure, over the square root of their number."""
    squares = np.zeros(scene.structures.count)
    numbers = np.zeros(scene.structures.count)
    for name, axes in scene.structures.slices.items():
        value = scene.model.graph.initializers[name]
        if not is_float(value) or value.const_value is None:
            continue
        weights = value.const_value.numpy().astype(np.float64)
        for axis, members in axes.items():
            rows = np.moveaxis(weights, axis, 0).reshape(len(members), -1)
            cut = members != STAYS
            np.add.at(squares, members[cut], (rows[cut] ** 2).sum(axis=1))
            np.add.at(numbers, members[cut], rows.shape[1])
    return FixedPrices(np.sqrt(squares / np.maximum(numbers, 1)))


@criterion(Method.RANDOM)
def random(scene: Scene, alive: Alive) -> Prices:
    """Uniform numbers from the recipe's seed: the floor any criterion has to beat."""
    return FixedPrices(np.random.default_rng(scene.seed).random(scene.structures.count))
