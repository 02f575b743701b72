"""Signed SOSP: the quadratic model of the loss itself, instead of a bound of it.

Where SOSP-H and SOSP-I sum absolute values, this keeps the signs: two structures that undo
each other are cheap to remove together, two that back each other up are dear. The Hessian is
its Gauss-Newton part, held as its square root ``A`` so that no S x S matrix is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sosp_core.config import Method
from sosp_core.saliency.criterion import Scene, criterion
from sosp_core.saliency.mask_space import Batch
from sosp_core.structures.prices import Prices, QuadraticPrices
from sosp_core.structures.structures import Alive

#: Probes of the output curvature for each sample, at most; with as many outputs it is exact.
PROBES = 16


@criterion(Method.SOSP_SIGNED)
def sosp_signed(scene: Scene, alive: Alive) -> Prices:
    """Minimise ``−Σ_M ∂L/∂m + ½ Σ_MM G`` with G the Gauss-Newton matrix over gates at this mask.

    Rows of A are ``zᵀ ∂f(x_n)/∂m / √N`` with z the columns of a square root of the loss curvature
    at the output, or random combinations of them where there are more than ``PROBES``.

    Cost: per batch a forward pass and one backward pass for each probe, for every sample apart
    through gates of its own; memory N x probes x S float32.
    """
    space = scene.space()
    mask = space.mask(alive)
    generator = torch.Generator().manual_seed(scene.seed)
    gradient = torch.zeros(len(mask), dtype=torch.float64)
    rows: list[NDArray[np.float32]] = []
    total = sum(samples for samples, _ in space.batches())
    for _, batch in space.batches():
        # A gate for each sample where the graph allows it, else one sample at a time.
        parts = [batch] if space.per_sample else list(_singly(batch))
        for part in parts:
            n = len(part.inputs[0])
            gates = mask.expand(n, -1).clone().requires_grad_()
            outputs = space.outputs(gates, part.inputs)
            loss = space.compare(outputs, part)
            (g,) = torch.autograd.grad(loss, gates, retain_graph=True)
            gradient += g.sum(0).cpu().double() * (n / total)
            for roots in space.task.curvature_roots(outputs, PROBES, generator):
                rows.append(_row(outputs, roots, gates, total))
    matrix = np.concatenate(rows)
    matrix[:, ~alive] = 0.0
    return QuadraticPrices(np.where(alive, gradient.numpy(), 0.0), matrix)


def _row(
    outputs: Sequence[Tensor], roots: Sequence[Tensor | None], gates: Tensor, total: int
) -> NDArray[np.float32]:
    """One row a sample: the gradient of ``z·f(x_n)`` with respect to its own gates."""
    pairs = [(y, z) for y, z in zip(outputs, roots, strict=True) if z is not None]
    (row,) = torch.autograd.grad([y for y, _ in pairs], gates, [z for _, z in pairs], retain_graph=True)
    result: NDArray[np.float32] = (row / total**0.5).detach().cpu().float().numpy()
    return result


def _singly(batch: Batch) -> Iterator[Batch]:
    for i in range(len(batch.inputs[0])):
        one = slice(i, i + 1)
        yield Batch(
            inputs=tuple(t[one] for t in batch.inputs),
            labels=None if batch.labels is None else batch.labels[one],
            reference=None if batch.reference is None else tuple(t[one] for t in batch.reference),
        )
