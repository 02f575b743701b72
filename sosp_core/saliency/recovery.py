"""What will be missed after training, rather than before it.

An estimate of the loss says which network is best as it is cut; trained for a few steps, others
overtake it. Two things told them apart wherever it was measured: what they keep has large weights,
for what training on all of the data has let decay is easily done without, or learnt again; and they
are wide where width is cheap to run.
"""

from __future__ import annotations

import numpy as np

from sosp_core.config import Method
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.diagonals import obd
from sosp_core.saliency.weights import weight_sums
from sosp_core.structures.prices import Prices, RecoveryPrices, Scores
from sosp_core.structures.structures import Alive, Group

#: Of the relative size of a structure's weights. 4 does as well in places, 2 worse; see docs/benchmarks.md.
POWER = 8


@criterion(Method.RECOVERY)
def recovery(scene: Scene, alive: Alive) -> Prices:
    """``½ G_ss · size_s⁸``: the curvature of a structure, by how large its weights are in its group.

    Cost: see ``obd``.
    """
    return RecoveryPrices(obd(scene, alive).scores * relative_sizes(scene, alive) ** POWER)


def relative_sizes(scene: Scene, alive: Alive) -> Scores:
    """``[S]``: the size of each structure's weights over the mean of those alive in its group.

    The geometric mean of what makes the structure and of what reads it: a factor that one of them
    has and the other undoes, as folding a normalisation leaves it, is not seen. Weights with one
    axis, such as biases, do not count; without any others a structure is of size 1.
    """
    read = {weight for gate in scene.structures.gates for weight in gate.weights if weight is not None}

    def makes(name: str, axes: int, axis: int) -> bool:
        return axes > 1 and (name, axis) not in read

    def reads(name: str, axes: int, axis: int) -> bool:
        return axes > 1 and (name, axis) in read

    sizes, sides = np.ones(scene.structures.count), np.zeros(scene.structures.count)
    for side in (makes, reads):
        squares, numbers = weight_sums(scene, np.square, side)
        there = numbers > 0
        relative = np.sqrt(squares / np.maximum(numbers, 1))
        for group in scene.structures.groups:
            relative[group.members] /= _mean(relative, group, alive & there)
        sizes = np.where(there, sizes * relative, sizes)
        sides += there
    relative_size: Scores = sizes ** (1 / np.maximum(sides, 1))
    return relative_size


def _mean(sizes: Scores, group: Group, counted: Alive) -> float:
    chosen = sizes[group.members[counted[group.members]]]
    return float(chosen.mean()) if chosen.any() else 1.0
