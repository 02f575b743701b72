"""Stages ``load`` and ``convert``: what is compressed, on which data, judged how."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.config import VIEWS, Objective, Recipe
from sosp_core.convert.check import require_same_function, rounding_of
from sosp_core.convert.network import Network
from sosp_core.data.axes import Seen
from sosp_core.data.dataset import Dataset, load_dataset
from sosp_core.data.resolve import resolve_task
from sosp_core.data.task import Task
from sosp_core.errors import DataMismatch
from sosp_core.finetune.augment import augment, keeps_labels, suited
from sosp_core.finetune.evaluate import Forward
from sosp_core.ir.bfloat16 import Narrowed, widen
from sosp_core.ir.interface import Interface, interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.save import weight_bytes
from sosp_core.runtime.session import Array, open_session, run

#: Samples that observe shapes and carry the parity checks.
PROBE_SAMPLES = 8
EVALUATION_BATCH = 64
#: Numbers of samples that tell which axis of an output counts them.
FEW, MORE = 2, 3
UNKNOWN = Task(kinds=(), labelled=False)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model in its normal form, and the data it is compressed with.

    Attributes:
        sha256: Of the file as it came.
        file_bytes: What the original takes on a disk: the file, or the weights beside it if they take more.
        model: Normalised; never changed, only cloned.
        narrowed: What in it was bfloat16, and has to be again when it is handed out.
        evaluation: Data to judge by, if given.
        recipe: What to do.
        warnings: What is odd about the data, though they can be used.
        task: What the outputs mean, once ``convert`` ran.
        judged_as: What they mean where the evaluation data judge them, once ``convert`` ran.
        conversion: Relative error of the network's outputs against ONNX Runtime's, once ``convert`` ran.
    """

    sha256: str
    file_bytes: int
    model: ir.Model
    interface: Interface
    data: Dataset
    evaluation: Dataset | None
    recipe: Recipe
    narrowed: Narrowed
    warnings: tuple[str, ...] = ()
    task: Task = UNKNOWN
    judged_as: Task = UNKNOWN
    conversion: float = 0.0

    @property
    def rounding(self) -> float:
        """How far apart two right ways to compute its outputs may be, as a relative error."""
        return max(rounding_of(self.model), self.conversion)

    @property
    def probe(self) -> dict[str, Array]:
        """The first few samples, as inputs by name."""
        return self.feeds(self.interface.batch or PROBE_SAMPLES)

    def feeds(self, n: int) -> dict[str, Array]:
        """The first ``n`` samples, or as many as there are, as inputs by name."""
        return {name: np.ascontiguousarray(array[:n]) for name, array in self.data.inputs.items()}

    def samples(self) -> Dataset:
        """The samples that scores and compensation read, each in one view, if labels allow: always the same.

        Raises:
            RecipeInvalid: Views are asked for that do not suit the inputs.
        """
        batch = self.interface.batch or 1
        drawn = np.random.default_rng(self.recipe.seed).permutation(len(self.data))
        wanted = min(max(self.recipe.prune.samples, batch), len(self.data))
        samples = self.data.take(np.sort(drawn[: wanted - wanted % batch]))
        name, images = next(iter(samples.inputs.items()))
        names = suited("prune.augment", self.recipe.prune.views(), samples.inputs) & VIEWS
        if not (names and keeps_labels(self.task, samples.labels)):
            return samples
        generator = torch.Generator().manual_seed(self.recipe.seed)
        views = augment(torch.as_tensor(images), names, generator).numpy()
        return replace(samples, inputs={**samples.inputs, name: views})

    def tensors(self, usual: int, device: torch.device) -> Iterator[list[torch.Tensor]]:
        """Those samples, batch by batch, as inputs in graph order."""
        names = [port.name for port in self.interface.inputs]
        for part in self.samples().batches(self.batch(usual)):
            yield [torch.as_tensor(part.inputs[name]).to(device) for name in names]

    def batch(self, usual: int) -> int:
        """The batch that the graph fixes, or else the usual one."""
        return self.interface.batch or usual


def load(source: Path | bytes, data: Path, evaluation: Path | None, recipe: Recipe) -> Subject:
    """Read model and data.

    Raises:
        InputError: One of them cannot be used, or not by this recipe.
    """
    model = normalize(load_model(source))  # a path, so that weights beside the file are found
    narrowed = widen(model)
    ports = interface(model)
    samples = load_dataset(data, ports)
    judged = load_dataset(evaluation, ports) if evaluation else None
    suited("finetune.augment", recipe.finetune.augmentations(), samples.inputs)  # or it fails after hours
    return Subject(
        sha256=_sha256(source),
        file_bytes=max(_size(source), weight_bytes(model)) if not narrowed else _size(source),
        model=model,
        interface=ports,
        data=samples,
        evaluation=judged,
        recipe=recipe,
        narrowed=narrowed,
        warnings=tuple(_oddities(samples)),
    )


def convert(subject: Subject) -> Subject:
    """Find out what the outputs mean, and prove that the torch network computes what ONNX Runtime does.

    Returns:
        The subject, knowing the largest relative error, and its tasks with what errors of values are
        divided by.

    Raises:
        UnsupportedOps: Nodes that no converter knows.
        UnsupportedModel: No output can be judged.
        DataMismatch: Labels are missing, or do not fit the outputs.
        ConversionDiverged: The first node that computes something else is named.
    """
    network = Network(subject.model)
    original = forward(subject.model, subject.interface)
    task, judged_as = _tasks(subject, original)
    subject = replace(subject, task=task, judged_as=judged_as)
    error = require_same_function(network, subject.model, subject.probe)
    batches = subject.samples().batches(subject.batch(EVALUATION_BATCH))
    answers = [original(part) for part in batches]
    return replace(
        subject,
        task=task.measured_on(answers),
        judged_as=judged_as.measured_on(answers),
        conversion=error,
    )


def _tasks(subject: Subject, original: Forward) -> tuple[Task, Task]:
    """What the outputs mean to the calibration data, and to those that judge them."""
    objective, judging = subject.recipe.objective, subject.evaluation
    seen = _seen(subject.data, original, subject.interface.batch)
    if judging is None:
        task = resolve_task(subject.model, seen, subject.data, objective)
        return task, task
    seen_too = _seen(judging, original, subject.interface.batch)
    both, also = (
        [(*a, *b) for a, b in zip(x, y, strict=True)] for x, y in ((seen, seen_too), (seen_too, seen))
    )
    task = resolve_task(subject.model, both, subject.data, objective)
    if judging.labels is None:
        return task, replace(task, labelled=False)
    # What is learnt from the original alone can be judged by labels all the same.
    asked = Objective.AUTO if objective is Objective.DISTILL else objective
    judged_as = resolve_task(subject.model, also, judging, asked)
    if task.labelled and task.kinds != judged_as.kinds:
        kinds = f"{task.kinds[task.first]}, as those of the calibration data are"
        got = f"{judging.labels.dtype}{list(judging.labels.shape)} for {judged_as.kinds[task.first]}"
        raise DataMismatch(field="labels", expected=f"labels for {kinds}", got=got)
    return task, judged_as


def _seen(data: Dataset, original: Forward, fixed: int | None) -> list[tuple[Seen, ...]]:
    """For each output, its shape for a few samples, and a few more if the graph takes any number."""
    # A graph that says it takes any number, and does not, can be used with a single sample.
    sizes = (FEW, MORE) if fixed is None and len(data) > 1 else (fixed or 1,)
    runs = [original(data.take(np.arange(n) % len(data))) for n in sizes]
    return [
        tuple(Seen(n, tuple(y.shape)) for n, y in zip(sizes, column, strict=True))
        for column in zip(*runs, strict=True)
    ]


def _oddities(data: Dataset) -> list[str]:
    if all((array[:PROBE_SAMPLES] == array.flat[0]).all() for array in data.inputs.values()):
        return ["calibration_degenerate: the first samples hold one value everywhere"]
    return []


def _sha256(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def forward(model: ir.Model | bytes, ports: Interface) -> Forward:
    """A model, or its file, as a function from samples to outputs, run by ONNX Runtime."""
    session = open_session(model)

    def apply(batch: Dataset) -> Sequence[torch.Tensor]:
        outputs = run(session, batch.inputs)
        return [torch.as_tensor(outputs[port.name]) for port in ports.outputs]

    return apply
