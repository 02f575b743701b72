"""Stage ``cut``: the slim model, proved to be the masked one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
from sosp_core.errors import SurgeryDiverged
from sosp_core.stages.choose import Choice
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Alive
from sosp_core.surgery.apply import slim
from sosp_core.surgery.compensate import compensate
from sosp_core.surgery.stand_in import put_means
from sosp_core.surgery.verify import outputs_of, require_close

#: Masked original against slim model: the same float32 sums in another order. Seen 3e-7.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Cut:
    """The slim model before any training, and the error of its proof."""

    model: ir.Model
    error: float


def cut(subject: Subject, choice: Choice, alive: Alive, device: torch.device) -> Cut:
    """Remove what is not alive; then, if asked, fold what it did into what remains.

    Raises:
        SurgeryDiverged: Slim and masked model disagree; the output is named.
    """
    model = slim(subject.model, choice.structures, alive)
    probe = subject.probe
    masked = outputs_of(choice.gated(subject).mask(alive), probe)
    tolerance = max(TOLERANCE, subject.rounding)
    error = require_close(outputs_of(model, probe), masked, tolerance, SurgeryDiverged)
    if subject.recipe.prune.compensate:
        model = _compensated(subject, choice, model, alive, device)
    return Cut(model, error)


def _compensated(
    subject: Subject, choice: Choice, model: ir.Model, alive: Alive, device: torch.device
) -> ir.Model:
    network = Network(subject.model).to(device)

    def batches() -> Iterator[list[torch.Tensor]]:
        return subject.tensors(subject.recipe.prune.batch_size, device)

    model = put_means(model, choice.structures, alive, network, batches())
    return compensate(subject.model, model, choice.structures, alive, network, batches())
