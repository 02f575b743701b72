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


class MaskSpace:
    """Loss of the gated network over calibration data, as a function of the mask."""

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
        self._network = Network(gated.model).to(device).eval()
        self._dtype = dtype
        if dtype is not None:
            self._network.to(dtype)
        for parameter in self._network.parameters():
            parameter.requires_grad_(False)
        self._task = task
        self._device = device
        self._gates = [
            (self._network.attribute_of[name], torch.as_tensor(members, device=device))
            for name, members in gated.gates.items()
        ]
        self._batches = [self._prepare(part) for part in data.batches(batch_size)]

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

    def outputs(self, mask: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The network's outputs with its gates set by ``mask [S]``."""
        # Members of −1 stay for ever: they index the one appended at the end.
        extended = torch.cat([mask, mask.new_ones(1)])
        values = {}
        for name, members in self._gates:
            held: Tensor = getattr(self._network, name)
            values[name] = extended[members].reshape(held.shape).to(held.dtype)
        result: tuple[Tensor, ...] = functional_call(self._network, values, tuple(inputs))
        return result

    def loss(self, mask: Tensor, batch: Batch) -> Tensor:
        """Mean loss of one batch: against labels, or against the unmasked original."""
        outputs = self.outputs(mask, batch.inputs)
        if batch.labels is not None:
            return self._task.supervised(outputs, batch.labels)
        return self._task.distilled(outputs, batch.reference or ())

    def _prepare(self, part: Dataset) -> Batch:
        arrays = (torch.as_tensor(part.inputs[name]).to(self._device) for name in self._network.input_names)
        inputs = tuple(a.to(self._dtype) if self._dtype and a.is_floating_point() else a for a in arrays)
        if self._task.labelled and part.labels is not None:
            return Batch(inputs=inputs, labels=torch.as_tensor(part.labels).to(self._device), reference=None)
        with torch.no_grad():
            return Batch(inputs=inputs, labels=None, reference=self._network(*inputs))
