"""Stages ``finetune`` and ``write``: the slim network learns, and becomes a file again."""

from __future__ import annotations

import onnx_ir as ir
import torch

from sosp_core.convert.check import TOLERANCE
from sosp_core.convert.network import Network
from sosp_core.errors import WriteBackDiverged
from sosp_core.finetune.features import shared_features
from sosp_core.finetune.loop import History, Trainer
from sosp_core.finetune.write_back import write_back
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.progress import Progress
from sosp_core.stages.choose import Choice
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Alive
from sosp_core.surgery.verify import outputs_of, require_close, require_loadable


def finetune(
    subject: Subject,
    choice: Choice,
    model: ir.Model,
    alive: Alive,
    progress: Progress,
    device: torch.device,
) -> tuple[Network, History]:
    """Train the slim network on what the original answers, and on labels if there are any.

    Raises:
        Cancelled: Between two steps.
        TrainingDiverged: The loss did not stay finite.
    """
    student, teacher = Network(model), Network(fold_batchnorm(subject.model.clone()))
    trainer = Trainer(
        student,
        teacher,
        subject.data,
        subject.task,
        subject.recipe.finetune,
        seed=subject.recipe.seed,
        device=device,
        progress=progress,
        fixed_batch=subject.interface.batch,
        features=shared_features(choice.structures, alive, student, teacher),
    )
    return student, trainer.run()


def write(subject: Subject, student: Network, model: ir.Model) -> tuple[bytes, float]:
    """The file with the trained weights, and how far ONNX Runtime is from the trained network.

    Raises:
        WriteBackDiverged: Too far; the output is named.
        CheckFailed: The file does not load, or its ports are not the original's.
    """
    student = student.cpu().eval()
    written = write_back(student, model.clone())
    content = require_loadable(written, subject.model)
    probe = subject.probe
    with torch.no_grad():
        outputs = student(*(torch.as_tensor(probe[n]) for n in student.input_names))
    expected = {name: y.numpy() for name, y in zip(student.output_names, outputs, strict=True)}
    return content, require_close(outputs_of(written, probe), expected, TOLERANCE, WriteBackDiverged)
