"""What the outputs mean: which loss compares them with labels or with the original's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.config import Objective
from sosp_core.data.dataset import Array, Dataset
from sosp_core.errors import DataMismatch
from sosp_core.ir.interface import Interface

TINY = 1e-12


class Kind(StrEnum):
    """How one output is to be read."""

    LOGITS = "logits"  # scores of classes along axis 1, before softmax
    PROBABILITIES = "probabilities"  # the same after softmax
    BINARY_LOGITS = "binary_logits"  # independent yes/no scores
    BINARY_PROBABILITIES = "binary_probabilities"  # the same after a sigmoid
    VALUES = "values"  # numbers; distances are squared errors
    SCORES = "scores"  # logits as numbers, whatever they have in common left out
    PROBABILITY_SCORES = "probability_scores"  # the same scores, of what a softmax made of them


#: What an output is as an answer, to be met rather than to be likely.
ANSWERS = {
    Kind.LOGITS: Kind.SCORES,
    Kind.PROBABILITIES: Kind.PROBABILITY_SCORES,
    Kind.BINARY_LOGITS: Kind.VALUES,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """How outputs are compared.

    Attributes:
        kinds: One for each output.
        labelled: Whether labels judge the first output.
        variances: Of each output of the original over all data, if measured; else each batch's
            own stands in, and what is a mean over batches depends on how they are cut.
    """

    kinds: tuple[Kind, ...]
    labelled: bool
    variances: tuple[float, ...] = ()

    def measured_on(self, references: Sequence[Sequence[Tensor]]) -> Task:
        """The same task, with the variances of these outputs of the original, a tuple a batch."""
        if not references:
            return self
        columns = [
            torch.cat([_numbers(kind, y).flatten().double() for y in column])
            for kind, column in zip(self.kinds, zip(*references, strict=True), strict=True)
        ]
        return replace(self, variances=tuple(float(c.var(unbiased=False)) for c in columns))

    def of_answers(self) -> Task:
        """All outputs against the original's, scores of classes as the numbers they are."""
        return Task(kinds=tuple(ANSWERS.get(kind, kind) for kind in self.kinds), labelled=False)

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
            _divergence(kind, y, r, temperature, self.variances[i] if self.variances else None)
            for i, (kind, y, r) in enumerate(zip(self.kinds, outputs, reference, strict=True))
            if y.is_floating_point()
        ]
        return torch.stack(terms).sum(dim=0)

    def curvature_roots(
        self, outputs: Sequence[Tensor], probes: int, generator: torch.Generator
    ) -> Iterator[list[Tensor | None]]:
        """Vectors z over the outputs with ``Σ z zᵀ = R``, the loss curvature of each sample.

        Args:
            outputs: Of one batch; the curvature is taken there.
            probes: Yield at most this many. An output with no more entries gets an exact root;
                a larger one random combinations, right in expectation.
            generator: Draws the combinations.

        Yields:
            One tensor for each output, shaped as it; None where this probe leaves it alone.
        """
        judged = range(1) if self.labelled else range(len(outputs))
        for i in judged:
            y = outputs[i].detach()
            if not y.is_floating_point():
                continue
            entries = y[0].numel()
            exact = entries <= probes
            for k in range(entries if exact else probes):
                noise = _basis(y, k) if exact else _signs(y, generator) / sqrt(probes)
                z: list[Tensor | None] = [None] * len(outputs)
                z[i] = _root(self.kinds[i], y, noise, self._unit(i, y))
                yield z

    def _unit(self, i: int, y: Tensor) -> float:
        """What squared errors of an output are divided by."""
        if self.labelled:
            return 1.0
        return (self.variances[i] if self.variances else _variance(self.kinds[i], y)) + TINY


def _numbers(kind: Kind, y: Tensor) -> Tensor:
    """An output as the numbers that squared errors are taken of."""
    if kind is Kind.PROBABILITY_SCORES:
        return _centred((y + TINY).log(), _softmax_axis(y))
    return _centred(y, 1) if kind is Kind.SCORES else y


def _centred(y: Tensor, axis: int) -> Tensor:
    return y - y.mean(axis, keepdim=True)


def _softmax_axis(y: Tensor) -> int:
    """That of the classes, unless the softmax was over the last axis, as of sequences ``[N, T, C]``."""
    sums = y.detach().float().sum(1)
    return 1 if torch.allclose(sums, torch.ones_like(sums), atol=1e-3) else -1


def _variance(kind: Kind, y: Tensor) -> float:
    return float(_numbers(kind, y).var(unbiased=False))


def _basis(y: Tensor, k: int) -> Tensor:
    unit = torch.zeros_like(y).reshape(len(y), -1)
    unit[:, k] = 1.0
    return unit.reshape(y.shape)


def _signs(y: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.randint(0, 2, y.shape, generator=generator) * 2 - 1).to(y)


def _root(kind: Kind, y: Tensor, noise: Tensor, unit: float) -> Tensor:
    """``R^{1/2} · noise`` for the curvature R of one sample's loss at output y."""
    places = y[0].numel() // (y.shape[1] if y.ndim > 1 else 1)  # the loss averages over positions
    if kind is Kind.LOGITS:
        p = y.softmax(1)
        scaled = p.sqrt() * noise
        return (scaled - p * scaled.sum(1, keepdim=True)) / sqrt(places)
    if kind is Kind.PROBABILITIES:
        return noise / (y + TINY).sqrt() / sqrt(places)
    if kind is Kind.BINARY_LOGITS:
        p = y.sigmoid()
        return noise * (p * (1 - p) / y[0].numel()).sqrt()
    if kind is Kind.BINARY_PROBABILITIES:
        return noise / ((y * (1 - y) + TINY) * y[0].numel()).sqrt()
    if kind is Kind.SCORES:
        noise = _centred(noise, 1)
    if kind is Kind.PROBABILITY_SCORES:
        noise = _centred(noise, _softmax_axis(y)) / (y + TINY)
    return noise * sqrt(2 / (y[0].numel() * unit))


def _divergence(
    kind: Kind, y: Tensor, reference: Tensor, temperature: float, variance: float | None
) -> Tensor:
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
    wanted = _numbers(kind, reference)
    unit = wanted.var(unbiased=False) if variance is None else variance
    return F.mse_loss(_numbers(kind, y), wanted) / (unit + TINY)


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    divergence: Tensor = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence.mean()


def _binary_kl(log_yes: Tensor, log_no: Tensor, p: Tensor) -> Tensor:
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    divergence: Tensor = -p * log_yes - (1 - p) * log_no - entropy
    return divergence.mean()


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
