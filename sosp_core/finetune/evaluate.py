"""How good a network is on data: against labels, and against the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task

Forward = Callable[[Dataset], Sequence[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Means over samples.

    Attributes:
        loss: Supervised loss; None without labels.
        accuracy: Share of right answers; None without labels or for values.
        fidelity: Share of samples on which slim and original answer alike (classes, yes/no), or
            the coefficient of determination R² of the original's values.
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
    sums = dict.fromkeys(("loss", "right", "divergence", "agree", "error", "square", "total"), 0.0)
    seen = values = 0
    for batch in data.batches(batch_size):
        y, reference = network(batch), original(batch)
        n = len(batch)
        seen += n
        sums["divergence"] += n * float(task.distilled(y, reference))
        if task.labelled and batch.labels is not None:
            labels = torch.as_tensor(batch.labels, device=y[0].device)
            sums["loss"] += n * float(task.supervised(y, labels))
            sums["right"] += n * _agreement(task.kinds[0], y[0], labels)
        if task.kinds[0] is Kind.VALUES:
            a, b = y[0].double(), reference[0].double()
            sums["error"] += float((a - b).square().sum())
            sums["square"] += float(b.square().sum())
            sums["total"] += float(b.sum())
            values += b.numel()
        else:
            sums["agree"] += n * _agreement(task.kinds[0], y[0], _answer(task.kinds[0], reference[0]))
    classes = task.kinds[0] is not Kind.VALUES
    variance = sums["square"] - sums["total"] ** 2 / max(values, 1)
    return Quality(
        loss=sums["loss"] / seen if task.labelled else None,
        accuracy=sums["right"] / seen if task.labelled and classes else None,
        fidelity=sums["agree"] / seen if classes else 1 - sums["error"] / max(variance, 1e-12),
        divergence=sums["divergence"] / seen,
    )


def _answer(kind: Kind, y: Tensor) -> Tensor:
    if kind in (Kind.LOGITS, Kind.PROBABILITIES):
        return y.argmax(1)
    return y > (0.0 if kind is Kind.BINARY_LOGITS else 0.5)


def _agreement(kind: Kind, y: Tensor, expected: Tensor) -> float:
    if kind is Kind.VALUES:
        return float(np.nan)
    answer = _answer(kind, y)
    return float((answer == expected.reshape(answer.shape).to(answer.dtype)).float().mean())
