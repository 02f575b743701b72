"""What the outputs mean: which loss compares them with labels or with the original's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.data.axes import Axes, usual_axes

TINY = 1e-12
#: Of the largest variance of an output's features: what varies less is rounding, or nearly so.
FLOOR = 1e-8


class Kind(StrEnum):
    """How one output is to be read."""

    LOGITS = "logits"  # scores of classes, before softmax
    PROBABILITIES = "probabilities"  # the same after softmax
    BINARY_LOGITS = "binary_logits"  # independent yes/no scores
    BINARY_PROBABILITIES = "binary_probabilities"  # the same after a sigmoid
    VALUES = "values"  # numbers; distances are squared errors
    SCORES = "scores"  # logits as numbers, whatever they have in common left out
    PROBABILITY_SCORES = "probability_scores"  # the same scores, of what a softmax made of them
    IGNORED = "ignored"  # no floats, or none for each sample: it is not judged


#: What an output is as an answer, to be met rather than to be likely.
ANSWERS = {
    Kind.LOGITS: Kind.SCORES,
    Kind.PROBABILITIES: Kind.PROBABILITY_SCORES,
    Kind.BINARY_LOGITS: Kind.VALUES,
}
CLASSES = frozenset({Kind.LOGITS, Kind.PROBABILITIES})
NUMBERS = frozenset({Kind.VALUES, Kind.SCORES, Kind.PROBABILITY_SCORES})


@dataclass(frozen=True, kw_only=True)
class Task:
    """How outputs are compared.

    Attributes:
        kinds: One for each output.
        labelled: Whether labels judge the first output that is judged at all.
        variances: What squared errors are divided by, for each output of the original over all data,
            if measured: the variance of each feature of values about its own mean, at least ``FLOOR``
            of the largest; one number for scores of classes. If not measured, each batch's own stand
            in, and what is a mean over batches depends on how they are cut.
        axes: Where each output has samples and classes or features; the first two axes if not given.
    """

    kinds: tuple[Kind, ...]
    labelled: bool
    variances: tuple[tuple[float, ...], ...] = ()
    axes: tuple[Axes, ...] = ()
    # By output, device and type: a training that is recorded must find them on its device.
    _units: dict[tuple[int, torch.device, torch.dtype], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def judged(self) -> tuple[int, ...]:
        """The outputs that are compared at all."""
        return tuple(i for i, kind in enumerate(self.kinds) if kind is not Kind.IGNORED)

    @property
    def first(self) -> int:
        """The output that labels judge."""
        return self.judged[0]

    def read(self, i: int, y: Tensor) -> Tensor:
        """Output ``i`` as ``[samples, classes or features, ...]``."""
        return self._axes(i, y).arranged(y)

    def by_sample(self, i: int, y: Tensor) -> Tensor:
        """Output ``i`` as ``[samples, ...]``."""
        return self._axes(i, y).by_sample(y)

    def measured_on(self, references: Sequence[Sequence[Tensor]]) -> Task:
        """The same task, with the variances of these outputs of the original, a tuple a batch."""
        if not references:
            return self
        columns = zip(self.kinds, zip(*references, strict=True), strict=True)
        return replace(
            self,
            variances=tuple(
                tuple(_variances(kind, torch.cat([self.read(i, y).double() for y in column])).tolist())
                if kind in NUMBERS
                else ()
                for i, (kind, column) in enumerate(columns)
            ),
        )

    def of_answers(self) -> Task:
        """All outputs against the original's, scores of classes as the numbers they are."""
        kinds = tuple(ANSWERS.get(kind, kind) for kind in self.kinds)
        return Task(kinds=kinds, labelled=False, axes=self.axes)

    def supervised(self, outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mean loss of the first judged output against the labels."""
        i = self.first
        y, kind = outputs[i].float() if outputs[i].dtype == torch.bfloat16 else outputs[i], self.kinds[i]
        if kind is Kind.LOGITS:
            return F.cross_entropy(self.read(i, y), labels.long())
        if kind is Kind.PROBABILITIES:
            return F.nll_loss((self.read(i, y) + TINY).log(), labels.long())
        y = self.by_sample(i, y)
        if kind is Kind.BINARY_LOGITS:
            return F.binary_cross_entropy_with_logits(y, labels.to(y.dtype).reshape(y.shape))
        if kind is Kind.BINARY_PROBABILITIES:
            return F.binary_cross_entropy(y, labels.to(y.dtype).reshape(y.shape))
        return F.mse_loss(y, labels.to(y.dtype).reshape(y.shape))

    def distilled(
        self, outputs: Sequence[Tensor], reference: Sequence[Tensor], temperature: float = 1.0
    ) -> Tensor:
        """Mean divergence of the outputs from the original's, summed over the judged outputs.

        Distributions: KL(original ‖ network), both softened, times temperature² so that its
        gradient does not shrink. Values: squared error of each feature over the variance of the
        original's, the mean over features.
        """
        terms: list[Tensor] = []
        for i in self.judged:
            y = self.read(i, outputs[i])
            r = self.read(i, reference[i]).to(y.dtype)
            if (kind := self.kinds[i]) in NUMBERS:
                errors = (_numbers(kind, y) - _numbers(kind, r)).square()
                terms.append((errors / self._unit(i, r)).mean())
            else:
                terms.append(_divergence(kind, y, r, temperature))
        return torch.stack(terms).sum(dim=0)

    def curvature_roots(
        self, outputs: Sequence[Tensor], samples: int, probes: int, generator: torch.Generator
    ) -> Iterator[list[Tensor | None]]:
        """Vectors z over the outputs with ``Σ z zᵀ = R``, the loss curvature of each sample.

        Args:
            outputs: Of one batch; the curvature is taken there.
            samples: How many the batch holds.
            probes: Yield at most this many. An output with no more entries gets an exact root;
                a larger one random combinations, right in expectation.
            generator: Draws the combinations.

        Yields:
            One tensor for each output, shaped as it; None where this probe leaves it alone.
        """
        for i in self.judged[:1] if self.labelled else self.judged:
            axes = self._axes(i, outputs[i])
            y = axes.arranged(outputs[i].detach())
            unit = torch.ones((), device=y.device) if self.labelled else self._unit(i, y)
            entries = y.numel() // samples
            exact = entries <= probes and len(y) == samples  # else no axis tells samples apart
            for k in range(entries if exact else probes):
                noise = _basis(y, k) if exact else _signs(y, generator) / sqrt(probes)
                z: list[Tensor | None] = [None] * len(outputs)
                z[i] = axes.restored(_root(self.kinds[i], y, noise, entries, unit).to(y.dtype))
                yield z

    def _axes(self, i: int, y: Tensor) -> Axes:
        return self.axes[i] if self.axes else usual_axes(y.ndim)

    def _unit(self, i: int, y: Tensor) -> Tensor:
        """What squared errors of an output are divided by, to go with it as ``read`` gives it."""
        if self.kinds[i] not in NUMBERS:
            return y.new_ones(())
        if not self.variances:
            unit = _variances(self.kinds[i], y)
        else:
            key = (i, y.device, torch.promote_types(y.dtype, torch.float32))
            if key not in self._units:
                self._units[key] = torch.tensor(self.variances[i], device=key[1], dtype=key[2])
            unit = self._units[key]
        return unit.reshape(1, -1, *[1] * (y.ndim - 2)) + TINY


def _numbers(kind: Kind, y: Tensor) -> Tensor:
    """An output as the numbers that squared errors are taken of."""
    if kind is Kind.PROBABILITY_SCORES:
        y = (y + TINY).log()
    return y if kind is Kind.VALUES else _centred(y)


def _centred(y: Tensor) -> Tensor:
    return y - y.mean(1, keepdim=True)


def _variances(kind: Kind, y: Tensor) -> Tensor:
    """Of each feature of values; one number for all scores of classes, which have one scale."""
    numbers = _numbers(kind, y)
    whole = numbers.var(unbiased=False).reshape(1)
    if kind is not Kind.VALUES:
        return whole
    each = numbers.transpose(0, 1).flatten(1).var(1, unbiased=False)
    largest = each.max()  # 0 of a single sample, which says nothing about features
    return torch.where(largest > 0, torch.maximum(each, FLOOR * largest), whole)


def _basis(y: Tensor, k: int) -> Tensor:
    unit = torch.zeros_like(y, memory_format=torch.contiguous_format).reshape(len(y), -1)
    unit[:, k] = 1.0
    return unit.reshape(y.shape)


def _signs(y: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.randint(0, 2, y.shape, generator=generator) * 2 - 1).to(y)


def _root(kind: Kind, y: Tensor, noise: Tensor, entries: int, unit: Tensor) -> Tensor:
    """``R^{1/2} · noise`` for the curvature R of one sample's loss at output y, of so many entries."""
    places = entries // y.shape[1]  # the loss averages over positions
    if kind is Kind.LOGITS:
        p = y.softmax(1)
        scaled = p.sqrt() * noise
        return (scaled - p * scaled.sum(1, keepdim=True)) / sqrt(places)
    if kind is Kind.PROBABILITIES:
        return noise / (y + TINY).sqrt() / sqrt(places)
    if kind is Kind.BINARY_LOGITS:
        p = y.sigmoid()
        return noise * (p * (1 - p) / entries).sqrt()
    if kind is Kind.BINARY_PROBABILITIES:
        return noise / ((y * (1 - y) + TINY) * entries).sqrt()
    scaled = noise * (2 / (entries * unit)).sqrt()
    if kind is Kind.VALUES:
        return scaled
    # One unit for all of them: centring and scaling commute.
    return _centred(scaled) / (y + TINY) if kind is Kind.PROBABILITY_SCORES else _centred(scaled)


def _divergence(kind: Kind, y: Tensor, reference: Tensor, temperature: float) -> Tensor:
    if kind is Kind.LOGITS:
        return (
            _kl(F.log_softmax(y / temperature, 1), F.log_softmax(reference / temperature, 1)) * temperature**2
        )
    if kind is Kind.PROBABILITIES:
        return _kl((y + TINY).log(), (reference + TINY).log())
    if kind is Kind.BINARY_LOGITS:
        return _binary_kl(F.logsigmoid(y), F.logsigmoid(-y), torch.sigmoid(reference))
    return _binary_kl((y + TINY).log(), (1 - y + TINY).log(), reference)


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    divergence: Tensor = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence.mean()


def _binary_kl(log_yes: Tensor, log_no: Tensor, p: Tensor) -> Tensor:
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    divergence: Tensor = -p * log_yes - (1 - p) * log_no - entropy
    return divergence.mean()
