"""What the weights of each structure add up to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sosp_core.data.dataset import Array
from sosp_core.ir.view import is_float
from sosp_core.saliency.criterion import Scene
from sosp_core.structures.prices import Scores
from sosp_core.structures.structures import STAYS

#: Of each entry of an array.
Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
#: Whether the slices of an initializer, with so many axes, along one of them count.
Counts = Callable[[str, int, int], bool]
#: Numbers that are measured at once, 32 MiB of them: a matrix of 2 GB would else be there four times over.
AT_ONCE = 2**22


def weight_sums(
    scene: Scene, measure: Measure, counts: Counts = lambda name, axes, axis: True
) -> tuple[Scores, Scores]:
    """``[S]`` twice: for each structure the sum of a measure over its weights, and their number."""
    sums, numbers = np.zeros(scene.structures.count), np.zeros(scene.structures.count)
    for name, axes in scene.structures.slices.items():
        value = scene.model.graph.initializers[name]
        if not is_float(value) or value.const_value is None:
            continue
        array = value.const_value.numpy()
        for axis, members in axes.items():
            if not counts(name, array.ndim, axis):
                continue
            cut = members != STAYS
            np.add.at(sums, members[cut], _over_others(array, axis, measure)[cut])
            np.add.at(numbers, members[cut], array.size // max(1, len(members)))
    return sums, numbers


def _over_others(array: Array, axis: int, measure: Measure) -> Scores:
    """The sum of a measure over all axes but one, in float64, some entries of the first axis at a time."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    step = max(1, AT_ONCE * len(array) // max(1, array.size))
    parts = [
        measure(array[start : start + step].astype(np.float64)).sum(axis=others)
        for start in range(0, len(array), step)
    ]
    return np.concatenate(parts) if axis == 0 else np.sum(parts, axis=0)
