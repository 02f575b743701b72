"""Derivatives of each sample apart with respect to the gates: gradients, and a Gauss-Newton root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sosp_core.saliency.mask_space import Batch, MaskSpace
from sosp_core.structures.prices import Scores
from sosp_core.structures.structures import Alive

#: Probes of the output curvature for each sample, at most; with as many outputs it is exact.
PROBES = 16

Rows = NDArray[np.float32]


def gradient_and_root(space: MaskSpace, alive: Alive, seed: int) -> tuple[Scores, Rows]:
    """``∂L/∂m [S]`` and ``A`` with ``AᵀA = G``, the Gauss-Newton matrix over gates; 0 where not alive.

    Rows of A are ``zᵀ ∂f(x_n)/∂m / √N`` with z the columns of a square root of the loss curvature
    at the output, or random combinations of them where there are more than ``PROBES``.

    Cost: per batch a forward pass and one backward pass for each probe, for every sample apart
    through gates of its own; memory N x probes x S float32.
    """
    mask, generator = space.mask(alive), torch.Generator().manual_seed(seed)
    gradient = torch.zeros(len(mask), dtype=torch.float64)
    rows: list[Rows] = []
    total = sum(samples for samples, _ in space.batches())
    for n, part in _parts(space):
        gates = mask.expand(n, -1).clone().requires_grad_()
        outputs = space.outputs(gates, part.inputs)
        g = _derivative([(space.compare(outputs, part), None)], gates)
        gradient += g.sum(0).cpu().double() * (n / total)
        for roots in space.task.curvature_roots(outputs, PROBES, generator):
            rows.append(_row(outputs, roots, gates, total))
    matrix = np.concatenate(rows)
    matrix[:, ~alive] = 0.0
    return np.where(alive, gradient.numpy(), 0.0), matrix


def mean_squared_gradients(space: MaskSpace, alive: Alive) -> Scores:
    """``1/N Σ_n (∂L_n/∂m_s)² [S]``, with L_n the loss of sample n alone.

    Cost: one gradient pass.
    """
    mask = space.mask(alive)
    squares = torch.zeros(len(mask), dtype=torch.float64)
    total = sum(samples for samples, _ in space.batches())
    for n, part in _parts(space):
        gates = mask.expand(n, -1).clone().requires_grad_()
        loss = n * space.compare(space.outputs(gates, part.inputs), part)
        g = _derivative([(loss, None)], gates)
        squares += g.double().square().sum(0).cpu() / total
    return squares.numpy()


def _parts(space: MaskSpace) -> Iterator[tuple[int, Batch]]:
    """Batches with a gate for each sample where the graph allows it, else one sample at a time."""
    for n, batch in space.batches():
        if space.per_sample:
            yield n, batch
        else:
            yield from ((1, one) for one in _singly(batch))


def _row(outputs: Sequence[Tensor], roots: Sequence[Tensor | None], gates: Tensor, total: int) -> Rows:
    """One row a sample: the gradient of ``z·f(x_n)`` with respect to its own gates."""
    row = _derivative([(y, z) for y, z in zip(outputs, roots, strict=True) if z is not None], gates)
    result: Rows = (row / total**0.5).detach().cpu().float().numpy()
    return result


def _derivative(pairs: Sequence[tuple[Tensor, Tensor | None]], gates: Tensor) -> Tensor:
    """``Σ zᵀ ∂y/∂gates``; outputs that hear no gate, as of a branch that stays, add nothing."""
    heard = [(y, z) for y, z in pairs if y.requires_grad]
    if not heard:
        return torch.zeros_like(gates)
    ys, zs = zip(*heard, strict=True)
    return torch.autograd.grad(ys, gates, zs, retain_graph=True)[0]


def _singly(batch: Batch) -> Iterator[Batch]:
    for i in range(len(batch.inputs[0])):
        one = slice(i, i + 1)
        yield Batch(
            inputs=tuple(t[one] for t in batch.inputs),
            labels=None if batch.labels is None else batch.labels[one],
            reference=None if batch.reference is None else tuple(t[one] for t in batch.reference),
        )
