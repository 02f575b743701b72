"""Stages ``load`` and ``convert``: what is compressed, on which data, judged how."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.config import VIEWS, Recipe
from sosp_core.convert.check import require_same_function, rounding_of
from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset, load_dataset
from sosp_core.data.task import Task, resolve_task
from sosp_core.finetune.augment import augment, keeps_labels, suited
from sosp_core.ir.bfloat16 import Narrowed, widen
from sosp_core.ir.interface import Interface, interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.save import weight_bytes
from sosp_core.runtime.session import Array, open_session, run

#: Samples that observe shapes and carry the parity checks.
PROBE_SAMPLES = 8
EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model in its normal form, and the data it is compressed with.

    Attributes:
        sha256: Of the file as it came.
        file_bytes: What the original takes on a disk: the file, or the weights beside it if they take more.
        model: Normalised; never changed, only cloned.
        narrowed: What in it was bfloat16, and has to be again when it is handed out.
        conversion: Relative error of the network's outputs against ONNX Runtime's, once ``convert`` ran.
        evaluation: Data to judge by, if given.
        task: What the outputs mean.
        recipe: What to do.
    """

    sha256: str
    file_bytes: int
    model: ir.Model
    interface: Interface
    data: Dataset
    evaluation: Dataset | None
    task: Task
    recipe: Recipe
    narrowed: Narrowed
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

    def warnings(self) -> list[str]:
        """What is odd about the data, though it can be used."""
        if all(np.ptp(a.reshape(-1)) == 0 for a in self.probe.values()):
            return ["calibration_degenerate: the first samples hold one value everywhere"]
        return []


def load(source: Path | bytes, data: Path, evaluation: Path | None, recipe: Recipe) -> Subject:
    """Read model and data, and find out what the outputs mean.

    Raises:
        InputError: One of them cannot be used, or not by this recipe.
    """
    model = normalize(load_model(source))  # a path, so that weights beside the file are found
    narrowed = widen(model)
    ports = interface(model)
    samples = load_dataset(data, ports)
    judged = load_dataset(evaluation, ports) if evaluation else None
    suited("finetune.augment", recipe.finetune.augmentations(), samples.inputs)  # or it fails after hours
    task = resolve_task(model, ports, samples, recipe.objective)
    if task.labelled and judged is not None and judged.labels is not None:
        resolve_task(model, ports, judged, recipe.objective)  # These labels have to fit, too.
    return Subject(
        sha256=_sha256(source),
        file_bytes=max(_size(source), weight_bytes(model)) if not narrowed else _size(source),
        model=model,
        interface=ports,
        data=samples,
        evaluation=judged,
        task=task,
        recipe=recipe,
        narrowed=narrowed,
    )


def convert(subject: Subject) -> Subject:
    """Prove that the torch network computes what ONNX Runtime does; measure the outputs' spread.

    Returns:
        The subject, knowing the largest relative error, and its task by what errors of values are divided.

    Raises:
        UnsupportedOps: Nodes that no converter knows.
        ConversionDiverged: The first node that computes something else is named.
    """
    error = require_same_function(Network(subject.model), subject.model, subject.probe)
    original = forward(subject.model, subject.interface)
    batches = subject.samples().batches(subject.batch(EVALUATION_BATCH))
    task = subject.task.measured_on([original(part) for part in batches])
    return replace(subject, task=task, conversion=error)


def _sha256(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def forward(model: ir.Model | bytes, ports: Interface) -> Callable[[Dataset], Sequence[torch.Tensor]]:
    """A model, or its file, as a function from samples to outputs, run by ONNX Runtime."""
    session = open_session(model)

    def apply(batch: Dataset) -> Sequence[torch.Tensor]:
        outputs = run(session, batch.inputs)
        return [torch.as_tensor(outputs[port.name]) for port in ports.outputs]

    return apply
