"""What a criterion is given, on the small smooth networks of the oracle."""

from __future__ import annotations

import numpy as np
import torch

from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.saliency.criterion import Scene
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.structures.gating import gate_model
from tests.oracles.dense import Net
from tests.zoo.built import Built, random_feeds

SAMPLES = 7
CLASSES = Task(kinds=(Kind.LOGITS,), labelled=True)
TARGETS = Task(kinds=(Kind.VALUES,), labelled=True)
DISTILL = Task(kinds=(Kind.VALUES,), labelled=False)
#: Class scores without labels: what a final Softmax in front of its logits would be.
DISTILL_CLASSES = Task(kinds=(Kind.LOGITS,), labelled=False)


def samples(built: Built, task: Task, n: int = SAMPLES, outputs: int = 3) -> Dataset:
    from sosp_core.ir.interface import interface

    inputs = random_feeds(interface(built.model).inputs, n, seed=3)
    rng = np.random.default_rng(4)
    if not task.labelled:
        return Dataset(inputs=inputs)
    if task.kinds[0] is Kind.LOGITS:
        return Dataset(inputs=inputs, labels=rng.integers(0, outputs, n))
    return Dataset(inputs=inputs, labels=rng.standard_normal((n, outputs)))


def mask_space(
    built: Built, data: Dataset, task: Task, batch_size: int = 3, dtype: torch.dtype = torch.float64
) -> MaskSpace:
    gated = gate_model(built.model, built.structures, built.shapes)
    return MaskSpace(gated, data, task, batch_size=batch_size, device=torch.device("cpu"), dtype=dtype)


def scene(built: Built, space: MaskSpace | None = None, seed: int = 0) -> Scene:
    def get() -> MaskSpace:
        assert space is not None, "this criterion looks at weights alone"
        return space

    return Scene(model=built.model, structures=built.structures, space=get, seed=seed)


def without(net: Net, *removed: int) -> np.ndarray:
    alive = np.ones(net.structures, dtype=np.bool_)
    alive[list(removed)] = False
    return alive
