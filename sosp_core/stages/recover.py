"""Stages ``finetune`` and ``write``: the slim network learns, and becomes a file again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import torch

from sosp_core.checkpoints import Kept
from sosp_core.config import FinetuneConfig
from sosp_core.convert.check import tolerance_of
from sosp_core.convert.network import Network
from sosp_core.errors import OutputRejected, WriteBackDiverged
from sosp_core.finetune.features import Feature, shared_features
from sosp_core.finetune.history import History
from sosp_core.finetune.loop import SMALLEST_NORM_BATCH, Trainer
from sosp_core.finetune.renormalize import Renormalised, renormalise, wants_normalisation
from sosp_core.finetune.team import Mates
from sosp_core.finetune.write_back import write_back
from sosp_core.ir import save
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.ir.bfloat16 import narrow, round_weights
from sosp_core.ir.save import weight_bytes
from sosp_core.progress import Progress
from sosp_core.runtime.session import serialize
from sosp_core.stages.choose import Choice
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Alive
from sosp_core.surgery.verify import outputs_of, require_close, require_finite, require_loadable

#: What trains together; the first leads.
Devices = Sequence[torch.device]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What fine-tuning leaves.

    Attributes:
        network: With the best weights it had.
        base: The model that the network was built from.
    """

    network: Network
    base: Renormalised
    history: History


def finetune(
    subject: Subject,
    choice: Choice,
    model: ir.Model,
    alive: Alive,
    progress: Progress,
    devices: Devices,
    kept: Kept = Kept(),  # noqa: B008 (immutable)
    last: bool = False,
) -> Trained:
    """Train the slim network on what the original answers, and on labels if there are any.

    It ends as ``train`` says.

    Raises:
        Cancelled: Between two steps.
        TrainingDiverged: The loss did not stay finite.
    """
    return train(
        *(subject, model, subject.recipe.finetune, progress, devices),
        lambda *networks: shared_features(choice.structures, alive, *networks),
        last=last,
        kept=kept,
    )


def train(
    subject: Subject,
    model: ir.Model,
    config: FinetuneConfig,
    progress: Progress,
    devices: Devices,
    features: Callable[[Network, Network], Sequence[Feature]] = lambda *_: (),
    last: bool = False,
    kept: Kept = Kept(),  # noqa: B008 (immutable)
) -> Trained:
    """Train any model with the interface of the original.

    Args:
        subject: The original and the data.
        model: Where training begins; it is left as it is.
        config: How to train.
        progress: Told of every step.
        devices: Where to train: together, if there are several.
        features: From student and teacher: inner tensors to match, too.
        last: End with the last weights, not with those that did best on the held-out samples.
        kept: Where the state of the training is kept.

    Raises:
        Cancelled: Between two steps.
        TrainingDiverged: The loss did not stay finite.
    """
    base, original = _base(subject, model, devices[0]), fold_batchnorm(subject.model.clone())
    student, teacher = Network(base.model), Network(original)
    trainer = Trainer(
        student,
        teacher,
        subject.data,
        subject.task,
        config,
        seed=subject.recipe.seed,
        device=devices[0],
        progress=progress,
        fixed_batch=subject.interface.batch,
        features=features(student, teacher),
        last=last,
        kept=kept,
        mates=Mates(devices=tuple(devices), student=base.model, teacher=original),
    )
    return Trained(network=student, base=base, history=trainer.run())


#: Training moves weights, and with them how far rounding grows.
SPREAD = 4

#: A finished model: its file, or the model itself where one file cannot hold it.
Content = bytes | ir.Model


def size_of(finished: Content) -> int:
    """Bytes of the file, or of the weights beside it."""
    return len(finished) if isinstance(finished, bytes) else weight_bytes(finished)


def model_of(finished: Content) -> ir.Model:
    """A finished model to go on with."""
    return ir.from_proto(onnx.load_from_string(finished)) if isinstance(finished, bytes) else finished


def write(subject: Subject, trained: Trained) -> tuple[Content, float]:
    """The model with the trained weights, and how far ONNX Runtime is from the trained network.

    Raises:
        WriteBackDiverged: Too far; the output is named.
        OutputRejected: It is NaN or infinite where the original's is not.
        CheckFailed: The file does not load, or its ports are not the original's.
    """
    student = trained.network.cpu().eval()
    written = trained.base.fold(write_back(student, trained.base.model.clone()))
    probe = subject.probe
    with torch.no_grad():
        outputs = student(*(torch.as_tensor(probe[n]) for n in student.input_names))
    expected = {name: y.numpy() for name, y in zip(student.output_names, outputs, strict=True)}
    tolerance = max(tolerance_of(subject.model), SPREAD * subject.conversion)
    got = outputs_of(written, probe)
    error = require_close(got, expected, tolerance, WriteBackDiverged)
    require_finite(got, lambda: outputs_of(subject.model, probe))
    written = round_weights(written, subject.narrowed)
    if weight_bytes(written) >= save.ONE_FILE_BELOW:
        return written, error
    return require_loadable(written, subject.model), error


def deliver(subject: Subject, finished: Content) -> Content:
    """The finished model in the types that the original has.

    Raises:
        OutputRejected: The ONNX checker objects. No session: ONNX Runtime has no kernels to load it with.
    """
    if not subject.narrowed:
        return finished
    if isinstance(finished, ir.Model):
        return narrow(finished.clone(), subject.narrowed)
    model = narrow(model_of(finished), subject.narrowed)
    delivered = serialize(model)
    try:
        onnx.checker.check_model(delivered, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise OutputRejected(reason=str(error).strip().splitlines()[0]) from error
    return delivered


def _base(subject: Subject, model: ir.Model, device: torch.device) -> Renormalised:
    """The slim model as it will be trained: with normalisation, if it was folded away."""
    config = subject.recipe.finetune
    if not (config.trains and config.renormalise and subject.batch(config.batch_size) >= SMALLEST_NORM_BATCH):
        return Renormalised(model)
    if not wants_normalisation(model):
        return Renormalised(model)
    return renormalise(model, subject.tensors(subject.recipe.prune.batch_size, device))
