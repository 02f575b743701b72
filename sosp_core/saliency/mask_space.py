"""The network as a function of one gate for each structure.

With θ_s the parameters of structure s and m_s a gate that multiplies what consumers read of
it, at m = 1: ``∂L/∂m_s = θ_sᵀ∇L`` and ``∂²L/∂m_s∂m_t = θ_sᵀ∇²L θ_t``. Derivatives over S scalars
replace derivatives over all weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Task
from sosp_core.structures.gating import GatedModel


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch on the device: inputs in graph order, labels or the original's outputs."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    reference: tuple[Tensor, ...] | None


@dataclass(frozen=True)
class _Gate:
    attribute: str
    width: int
    axis: int


class MaskSpace:
    """Loss of the gated network over calibration data, as a function of the mask.

    Attributes:
        task: What the outputs mean.
        samples: How many there are.
        per_sample: Whether each sample can have a mask of its own.
    """

    def __init__(
        self,
        gated: GatedModel,
        data: Dataset,
        task: Task,
        *,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Move the network to ``device``; without labels, note the original's outputs.

        Args:
            gated: The model with gates.
            data: Calibration samples, in fixed order.
            task: What the outputs mean.
            batch_size: Samples a pass holds at once.
            device: Where to compute.
            dtype: Arithmetic of floats; None keeps the model's.
        """
        self._network = Network(gated.model).on(device).eval()
        self._dtype = dtype
        if dtype is not None:
            self._network.to(dtype)
        for parameter in self._network.parameters():
            parameter.requires_grad_(False)
        self.task = task
        self._device = device
        self._gates = [
            _Gate(self._network.attribute_of[name], len(gate.members), gate.axis)
            for name, gate in gated.gates.items()
        ]
        members = [gate.members for gate in gated.gates.values()]
        self._members = torch.as_tensor(np.concatenate(members or [np.zeros(0, np.int64)]), device=device)
        self.per_sample = all(gate.per_sample for gate in gated.gates.values())
        self.samples = len(data)
        self._batches = [self._prepare(part) for part in data.batches(batch_size)]
        references = [b.reference for b in self._batches if b.reference is not None]
        self.task = task if task.variances else task.measured_on(references)

    @property
    def device(self) -> torch.device:
        """Where masks have to live."""
        return self._device

    def mask(self, values: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Tensor:
        """A mask ``[S]`` on the device, in the arithmetic of the network."""
        return torch.as_tensor(values, device=self._device).to(self._dtype or torch.float32)

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """Pairs (samples, batch), always in the same order."""
        return ((len(b.inputs[0]), b) for b in self._batches)

    def singly(self, batch: Batch) -> Iterator[Batch]:
        """The samples of a batch one by one.

        The original answers each anew: an output need not have its samples on the first axis.
        """
        for i in range(len(batch.inputs[0])):
            labels = None if batch.labels is None else batch.labels[i : i + 1]
            yield self._batch(tuple(t[i : i + 1] for t in batch.inputs), labels)

    def outputs(self, mask: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The network's outputs with its gates set by ``mask [S]``, or ``[N, S]``: one for each sample."""
        # Members of −1 stay for ever: they index the one appended at the end.
        extended = torch.cat([mask, mask.new_ones((*mask.shape[:-1], 1))], dim=-1)
        # All gates are read at once: the derivative of each reading would be a mask of its own.
        widths = [gate.width for gate in self._gates]
        parts = torch.split_with_sizes(extended[..., self._members], widths, dim=-1)
        values = {}
        for gate, part in zip(self._gates, parts, strict=True):
            held: Tensor = getattr(self._network, gate.attribute)
            shape: tuple[int, ...] = held.shape
            if mask.ndim == 2 and len(mask) > 1:
                shape = (len(mask), *[1] * (gate.axis - 1), *held.shape)
            values[gate.attribute] = part.reshape(shape).to(held.dtype)
        result: tuple[Tensor, ...] = functional_call(self._network, values, tuple(inputs))
        return result

    def compare(self, outputs: Sequence[Tensor], batch: Batch) -> Tensor:
        """Mean loss of outputs: against labels, or against the unmasked original."""
        if batch.labels is not None:
            return self.task.supervised(outputs, batch.labels)
        return self.task.distilled(outputs, batch.reference or ())

    def loss(self, mask: Tensor, batch: Batch) -> Tensor:
        """Mean loss of one batch under a mask."""
        return self.compare(self.outputs(mask, batch.inputs), batch)

    def _prepare(self, part: Dataset) -> Batch:
        arrays = (torch.as_tensor(part.inputs[name]).to(self._device) for name in self._network.input_names)
        typed = (a.to(self._dtype) if self._dtype and a.is_floating_point() else a for a in arrays)
        inputs = tuple(a.contiguous(memory_format=torch.channels_last) if a.ndim == 4 else a for a in typed)
        labels = part.labels if self.task.labelled else None
        return self._batch(inputs, None if labels is None else torch.as_tensor(labels).to(self._device))

    def _batch(self, inputs: tuple[Tensor, ...], labels: Tensor | None) -> Batch:
        if labels is not None:
            return Batch(inputs=inputs, labels=labels, reference=None)
        with torch.no_grad():
            return Batch(inputs=inputs, labels=None, reference=self._network(*inputs))
