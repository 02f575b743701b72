"""What the weights of each structure add up to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sosp_core.ir.view import is_float
from sosp_core.saliency.criterion import Scene
from sosp_core.structures.prices import Scores
from sosp_core.structures.structures import STAYS

#: Whether the slices of an initializer along one of its axes count.
Counts = Callable[[str, NDArray[np.float64], int], bool]


def weight_sums(
    scene: Scene,
    measure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    counts: Counts = lambda name, array, axis: True,
) -> tuple[Scores, Scores]:
    """``[S]`` twice: for each structure the sum of a measure over its weights, and their number."""
    sums, numbers = np.zeros(scene.structures.count), np.zeros(scene.structures.count)
    for name, axes in scene.structures.slices.items():
        value = scene.model.graph.initializers[name]
        if not is_float(value) or value.const_value is None:
            continue
        measured = measure(value.const_value.numpy().astype(np.float64))
        for axis, members in axes.items():
            if not counts(name, measured, axis):
                continue
            rows = np.moveaxis(measured, axis, 0).reshape(len(members), -1)
            cut = members != STAYS
            np.add.at(sums, members[cut], rows[cut].sum(axis=1))
            np.add.at(numbers, members[cut], rows.shape[1])
    return sums, numbers
