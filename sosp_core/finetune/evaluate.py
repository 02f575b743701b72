"""How good a network is on data: against labels, and against the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from sosp_core.data.dataset import Dataset
from sosp_core.data.task import CLASSES, Kind, Task
from sosp_core.finetune.determination import Determination

Forward = Callable[[Dataset], Sequence[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Means over samples.

    Attributes:
        loss: Supervised loss; None without labels.
        accuracy: Share of right answers; None without labels or for values.
        fidelity: The mean over outputs of the share of answers (classes, yes/no) that slim and
            original have in common, or of the coefficient of determination R² of the original's values:
            of each feature about its own mean, not below 0, the mean over the features that vary.
            Features lie along the shorter of the first and the last axis of a sample.
        divergence: The distillation loss against the original.
    """

    loss: float | None
    accuracy: float | None
    fidelity: float
    divergence: float

    def objective(self, distill: float) -> float:
        """What fine-tuning lowers, on these samples; weights are chosen by it.

        Accuracy would be the more direct, but a few hundred held-out samples cannot tell epochs
        apart by it: its standard error is 1.5 points at 400 samples and 90 %.

        Args:
            distill: Weight of the divergence against the supervised loss, if there is one.
        """
        return self.divergence if self.loss is None else distill * self.divergence + (1 - distill) * self.loss


@torch.no_grad()
def evaluate(network: Forward, original: Forward, data: Dataset, task: Task, batch_size: int) -> Quality:
    """Compare a network with labels and with the original's outputs.

    Cost: one forward pass of both over ``data``.
    """
    loss = right = divergence = 0.0
    answered = task.kinds[task.first] is not Kind.VALUES
    alike = {i: 0.0 for i in task.judged if task.kinds[i] is not Kind.VALUES}
    values = {i: Determination() for i in task.judged if task.kinds[i] is Kind.VALUES}
    for batch in data.batches(batch_size):
        y, reference = network(batch), original(batch)
        n = len(batch)
        divergence += n * float(task.distilled(y, reference))
        if task.labelled and batch.labels is not None:
            labels = torch.as_tensor(batch.labels, device=y[task.first].device)
            loss += n * float(task.supervised(y, labels))
            right += n * _agreement(_answer(task, task.first, y), labels) if answered else 0.0
        for i in alike:
            alike[i] += n * _agreement(_answer(task, i, y), _answer(task, i, reference))
        for i, determination in values.items():
            determination.add(task.read(i, y[i]), task.read(i, reference[i]))
    shares = [agreed / len(data) for agreed in alike.values()]
    return Quality(
        loss=loss / len(data) if task.labelled else None,
        accuracy=right / len(data) if task.labelled and answered else None,
        fidelity=fmean((*shares, *(d.value() for d in values.values()))),
        divergence=divergence / len(data),
    )


def _answer(task: Task, i: int, outputs: Sequence[Tensor]) -> Tensor:
    """The classes of each sample, or yes and no, in the order of labels."""
    kind = task.kinds[i]
    if kind in CLASSES:
        return task.read(i, outputs[i]).argmax(1)
    return task.by_sample(i, outputs[i]) > (0.0 if kind is Kind.BINARY_LOGITS else 0.5)


def _agreement(answer: Tensor, expected: Tensor) -> float:
    return float((answer == expected.reshape(answer.shape).to(answer.dtype)).float().mean())
