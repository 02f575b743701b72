"""What each group is worth, before any job: parts of it are masked, and the loss is measured.

Cost: ``len(SHARES)`` forward passes for each group over at most ``SAMPLES`` samples; fewer samples
where that would be more than ``PASSES`` passes over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sosp_core.config import Method, PruneConfig, Recipe
from sosp_core.data.dataset import Dataset
from sosp_core.errors import NothingToCompress
from sosp_core.finetune.evaluate import evaluate
from sosp_core.runtime.observe import observe_shapes
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.stages.subject import Subject, convert, load
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import gate_model
from sosp_core.structures.structures import Alive, Group, Structures

SHARES = (0.25, 0.5, 0.75)
SAMPLES, FEWEST_SAMPLES = 256, 32
PASSES = 200


@dataclass(frozen=True, kw_only=True)
class Masked:
    """One group with a share of it masked; everything else whole.

    Attributes:
        loss: Mean loss, less that of the whole network.
        accuracy: The same for the share of right answers; None without labels.
        fidelity: Share of answers that are still the original's, or R² of values; see ``Quality``.
    """

    share: float
    loss: float
    accuracy: float | None
    fidelity: float


@dataclass(frozen=True, kw_only=True)
class GroupSensitivity:
    """One group at every share."""

    group: str
    structures: int
    masked: tuple[Masked, ...]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Every group, the most sensitive first.

    Attributes:
        loss: What the losses are: ``supervised``, or ``distillation`` from the original.
        samples: How many were looked at.
    """

    loss: str
    samples: int
    groups: tuple[GroupSensitivity, ...]

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON."""
        return asdict(self)


def sensitivity(model: Path | bytes, data: Path) -> Sensitivity:
    """Mask shares of every group alone, its smallest weights first.

    Raises:
        InputError: Model or data cannot be used.
        NothingToCompress: There is nothing to mask.
    """
    recipe = Recipe(prune=PruneConfig(samples=SAMPLES, augment="none"))
    subject = convert(load(model, data, None, recipe))
    shapes = observe_shapes(subject.model, subject.probe)
    structures = discover(subject.model, shapes)
    if structures.count == 0:
        raise NothingToCompress(refusals=[str(r) for r in structures.refusals])
    passes = len(SHARES) * len(structures.groups)
    wanted = max(FEWEST_SAMPLES, min(SAMPLES, SAMPLES * PASSES // passes))
    subject = replace(subject, recipe=replace(recipe, prune=replace(recipe.prune, samples=wanted)))
    samples = subject.samples()
    probe = _Probe(subject, samples, gate_model(subject.model, structures, shapes), structures)
    groups = [probe.group(group) for group in structures.groups]
    groups.sort(key=lambda g: -g.masked[len(SHARES) // 2].loss)
    kind = "supervised" if subject.task.labelled else "distillation"
    return Sensitivity(loss=kind, samples=len(samples), groups=tuple(groups))


class _Probe:
    """The gated network and the samples, asked again and again."""

    def __init__(self, subject: Subject, samples: Dataset, gated: Any, structures: Structures) -> None:
        self._samples, self._task = samples, subject.task
        self._batch = subject.batch(subject.recipe.prune.batch_size)
        cpu = torch.device("cpu")
        self._space = MaskSpace(gated, samples, subject.task, batch_size=self._batch, device=cpu)
        self._names = [port.name for port in subject.interface.inputs]
        whole = structures.all_alive()
        scene = Scene(model=subject.model, structures=structures, space=lambda: self._space, seed=0)
        self._scores = criteria[Method.MAGNITUDE](scene, whole).scores
        self._whole = whole
        # The original's answers are asked for once; batches come in a fixed order.
        self._answers = [self._outputs(whole, part) for part in samples.batches(self._batch)]
        self._base = self._judge(whole)

    def group(self, group: Group) -> GroupSensitivity:
        """A group with each share of it masked."""
        order = group.members[np.argsort(self._scores[group.members], kind="stable")]
        counts = [max(1, round(share * len(order))) for share in SHARES]
        masked = tuple(self._masked(s, order[:n]) for s, n in zip(SHARES, counts, strict=True))
        return GroupSensitivity(group=group.name, structures=len(order), masked=masked)

    def _masked(self, share: float, members: np.ndarray[Any, Any]) -> Masked:
        alive = self._whole.copy()
        alive[members] = False
        loss, accuracy, fidelity = self._judge(alive)
        base_loss, base_accuracy, _ = self._base
        change = None if accuracy is None or base_accuracy is None else accuracy - base_accuracy
        return Masked(share=share, loss=loss - base_loss, accuracy=change, fidelity=fidelity)

    def _judge(self, alive: Alive) -> tuple[float, float | None, float]:
        answers = iter(self._answers)
        quality = evaluate(
            lambda part: self._outputs(alive, part),
            lambda _: next(answers),
            self._samples,
            self._task,
            self._batch,
        )
        return (
            (quality.divergence if quality.loss is None else quality.loss),
            quality.accuracy,
            quality.fidelity,
        )

    @torch.no_grad()
    def _outputs(self, alive: Alive, part: Dataset) -> Sequence[torch.Tensor]:
        inputs = [torch.as_tensor(part.inputs[name]) for name in self._names]
        return self._space.outputs(self._space.mask(alive), inputs)
