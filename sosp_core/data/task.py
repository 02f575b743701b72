"""What the outputs mean: which loss compares them with labels or with the original's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.config import Objective
from sosp_core.data.dataset import Array, Dataset
from sosp_core.errors import DataMismatch
from sosp_core.ir.interface import Interface

#: Mean loss over the batch, in nats for distributions, dimensionless otherwise.
Loss = Callable[[Sequence[Tensor]], Tensor]

TINY = 1e-12


class Kind(StrEnum):
    """How one output is to be read."""

    LOGITS = "logits"  # scores of classes along axis 1, before softmax
    PROBABILITIES = "probabilities"  # the same after softmax
    BINARY_LOGITS = "binary_logits"  # independent yes/no scores
    BINARY_PROBABILITIES = "binary_probabilities"  # the same after a sigmoid
    VALUES = "values"  # numbers; distances are squared errors


@dataclass(frozen=True, kw_only=True)
class Task:
    """How outputs are compared.

    Attributes:
        kinds: One for each output.
        labelled: Whether labels judge the first output.
    """

    kinds: tuple[Kind, ...]
    labelled: bool

    def supervised(self, outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mean loss of the first output against the labels."""
        y, kind = outputs[0].float() if outputs[0].dtype == torch.bfloat16 else outputs[0], self.kinds[0]
        if kind is Kind.LOGITS:
            return F.cross_entropy(y, labels.long())
        if kind is Kind.PROBABILITIES:
            return F.nll_loss((y + TINY).log(), labels.long())
        if kind is Kind.BINARY_LOGITS:
            return F.binary_cross_entropy_with_logits(y, labels.to(y.dtype).reshape(y.shape))
        if kind is Kind.BINARY_PROBABILITIES:
            return F.binary_cross_entropy(y, labels.to(y.dtype).reshape(y.shape))
        return F.mse_loss(y, labels.to(y.dtype).reshape(y.shape))

    def distilled(
        self, outputs: Sequence[Tensor], reference: Sequence[Tensor], temperature: float = 1.0
    ) -> Tensor:
        """Mean divergence of the outputs from the original's, summed over the float outputs.

        Distributions: KL(original ‖ network), both softened, times temperature² so that its
        gradient does not shrink. Values: squared error over the variance of the original's.
        """
        terms: list[Tensor] = [
            _divergence(kind, y, r, temperature)
            for kind, y, r in zip(self.kinds, outputs, reference, strict=True)
            if y.is_floating_point()
        ]
        return torch.stack(terms).sum(dim=0)


def _divergence(kind: Kind, y: Tensor, reference: Tensor, temperature: float) -> Tensor:
    reference = reference.to(y.dtype)
    if kind is Kind.LOGITS:
        return (
            _kl(F.log_softmax(y / temperature, 1), F.log_softmax(reference / temperature, 1)) * temperature**2
        )
    if kind is Kind.PROBABILITIES:
        return _kl((y + TINY).log(), (reference + TINY).log())
    if kind is Kind.BINARY_LOGITS:
        return _binary_kl(F.logsigmoid(y), F.logsigmoid(-y), torch.sigmoid(reference))
    if kind is Kind.BINARY_PROBABILITIES:
        return _binary_kl((y + TINY).log(), (1 - y + TINY).log(), reference)
    return F.mse_loss(y, reference) / (reference.var(unbiased=False) + TINY)


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def _binary_kl(log_yes: Tensor, log_no: Tensor, p: Tensor) -> Tensor:
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    return (-p * log_yes - (1 - p) * log_no - entropy).mean()


def resolve_task(model: ir.Model, interface: Interface, data: Dataset, objective: Objective) -> Task:
    """Decide what the outputs mean from the recipe, the labels and the last operator.

    ``auto``: integer labels make the first output class scores; a final Softmax or Sigmoid makes
    its output probabilities; everything else is values. Without labels unnormalised scores
    cannot be told from a regression, so they count as values: right for both.

    Raises:
        DataMismatch: The objective needs labels that are missing or do not fit.
    """
    makers = [v.producer() for v in model.graph.outputs]
    last = ["" if node is None else node.op_type for node in makers]
    labels = data.labels if objective is not Objective.DISTILL else None
    first = _first_kind(objective, labels, last[0], interface)
    rest = [_unlabelled_kind(op) for op in last[1:]]
    needs = objective in (Objective.CROSS_ENTROPY, Objective.BCE, Objective.MSE)
    if needs and labels is None:
        raise DataMismatch(field="labels", expected=f"labels for objective {objective}", got="nothing")
    task = Task(kinds=(first, *rest), labelled=labels is not None)
    if labels is not None:
        _check_labels(first, labels, interface, len(data))
    return task


def _first_kind(objective: Objective, labels: Array | None, op: str, interface: Interface) -> Kind:
    if objective is Objective.BCE:
        return Kind.BINARY_PROBABILITIES if op == "Sigmoid" else Kind.BINARY_LOGITS
    classes = labels is not None and labels.dtype.kind in "iu" and len(interface.outputs[0].shape) >= 2
    if objective is Objective.CROSS_ENTROPY or (objective is Objective.AUTO and classes):
        return Kind.PROBABILITIES if op == "Softmax" else Kind.LOGITS
    if objective is Objective.MSE:
        return Kind.VALUES
    return _unlabelled_kind(op)


def _unlabelled_kind(op: str) -> Kind:
    if op == "Softmax":
        return Kind.PROBABILITIES
    return Kind.BINARY_PROBABILITIES if op == "Sigmoid" else Kind.VALUES


def _check_labels(kind: Kind, labels: Array, interface: Interface, n: int) -> None:
    shape = interface.outputs[0].shape
    got = f"{labels.dtype}{list(labels.shape)}"
    if kind in (Kind.LOGITS, Kind.PROBABILITIES):
        classes = shape[1] if len(shape) > 1 else "?"
        if labels.dtype.kind not in "iu" or labels.ndim != len(shape) - 1:
            raise DataMismatch(field="labels", expected=f"integer classes [{n}]", got=got)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or (isinstance(classes, int) and high >= classes):
            raise DataMismatch(
                field="labels", expected=f"classes 0..{classes} (exclusive)", got=f"{low}..{high}"
            )
    elif labels.dtype.kind not in "iufb" or not _same_size(shape, labels):
        raise DataMismatch(field="labels", expected=f"numbers shaped as the output {list(shape)}", got=got)


def _same_size(shape: tuple[int | str, ...], labels: Array) -> bool:
    fixed = [d for d in shape[1:] if isinstance(d, int)]
    return len(fixed) < len(shape) - 1 or int(np.prod(fixed)) == int(np.prod(labels.shape[1:]))
