"""Derivatives of each sample apart with respect to the gates: gradients, and a Gauss-Newton root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sosp_core.saliency.folded import Folded, Rows
from sosp_core.saliency.mask_space import Batch, MaskSpace
from sosp_core.structures.prices import Scores
from sosp_core.structures.structures import Alive

#: Probes of the output curvature for each sample, at most; with as many outputs it is exact.
PROBES = 16
#: Bytes of a root, at most. The scores of 50,000 structures have to fit into 4 GB; a choice within a
#: group copies its columns, which can be all there are, and correlations have half as much again.
ROOM = 2**30


class Expansion(NamedTuple):
    """The loss around a mask to second order, by its gradient and its Gauss-Newton matrix G.

    Attributes:
        gradient: ``∂L/∂m [S]``.
        diagonal: ``G_ss [S]``.
        rows: ``A [R, S]`` with ``AᵀA = G``; in expectation, if there was no room for all of it.
    """

    gradient: Scores
    diagonal: Scores
    rows: Rows


def gradient_and_root(space: MaskSpace, alive: Alive, seed: int, room: int = ROOM) -> Expansion:
    """Gradient, and root of the Gauss-Newton matrix over gates; 0 where not alive.

    Rows of A are ``zᵀ ∂f(x_n)/∂m / √N`` with z the columns of a square root of the loss curvature
    at the output, or random combinations of them where there are more than ``PROBES``.

    Args:
        space: The network and the samples.
        alive: The mask to expand around.
        seed: Draws the combinations, and the signs of ``Folded``.
        room: Bytes that A may take; what exceeds them is ``Folded``. The diagonal is exact all the same.

    Cost: per batch a forward pass and one backward pass for each probe, for every sample apart
    through gates of its own; memory N x probes x S float32, or ``room``.
    """
    slope, squares = np.zeros(len(alive)), np.zeros(len(alive))
    root = Folded(space.samples * len(space.task.kinds) * PROBES, len(alive), room, seed)
    generator = torch.Generator().manual_seed(seed)
    for one in _passes(space, alive):
        slope += one.gradient()
        for rows in one.rows(generator):
            squares += _squares(rows)
            root.add(rows)
    root.rows[:, ~alive] = 0.0
    return Expansion(np.where(alive, slope, 0.0), np.where(alive, squares, 0.0), root.rows)


def gradient(space: MaskSpace, alive: Alive) -> Scores:
    """``∂L/∂m [S]``; 0 where not alive.

    Cost: one gradient pass; memory is that of one batch.
    """
    slope = np.zeros(len(alive))
    for one in _passes(space, alive):
        slope += one.gradient()
    return np.where(alive, slope, 0.0)


def diagonal(space: MaskSpace, alive: Alive, seed: int) -> Scores:
    """``G_ss [S]`` of the matrix in ``gradient_and_root``, whose rows are added up and forgotten.

    Cost: as ``gradient_and_root`` without its gradient; memory is that of one batch.
    """
    squares = np.zeros(len(alive))
    generator = torch.Generator().manual_seed(seed)
    for one in _passes(space, alive):
        for rows in one.rows(generator):
            squares += _squares(rows)
    return np.where(alive, squares, 0.0)


def mean_squared_gradients(space: MaskSpace, alive: Alive) -> Scores:
    """``1/N Σ_n (∂L_n/∂m_s)² [S]``, with L_n the loss of sample n alone.

    Cost: one gradient pass; memory is that of one batch.
    """
    squares = np.zeros(len(alive))
    for one in _passes(space, alive):
        g = len(one.gates) * one.slopes()
        squares += (g.double().square().sum(0).cpu() / space.samples).numpy()
    return squares


@dataclass(frozen=True)
class _Pass:
    """Outputs of some samples, each with gates of its own ``[n, S]``."""

    space: MaskSpace
    part: Batch
    gates: Tensor
    outputs: Sequence[Tensor]

    def slopes(self) -> Tensor:
        """``[n, S]``: derivatives of the samples' mean loss with respect to the gates of each."""
        return _derivative([(self.space.compare(self.outputs, self.part), None)], self.gates)

    def gradient(self) -> Scores:
        """What these samples add to the gradient of the mean over all."""
        weight = len(self.gates) / self.space.samples
        result: Scores = (self.slopes().sum(0).cpu().double() * weight).numpy()
        return result

    def rows(self, generator: torch.Generator) -> Iterator[Rows]:
        """Of A, one a sample at a time: the gradient of ``z·f(x_n)`` with respect to its own gates."""
        for roots in self.space.task.curvature_roots(self.outputs, len(self.gates), PROBES, generator):
            pairs = [(y, z) for y, z in zip(self.outputs, roots, strict=True) if z is not None]
            row = _derivative(pairs, self.gates) / self.space.samples**0.5
            yield row.detach().cpu().float().numpy()


def _passes(space: MaskSpace, alive: Alive) -> Iterator[_Pass]:
    """Batches with a gate for each sample where the graph allows it, else one sample at a time."""
    mask = space.mask(alive)
    for n, batch in space.batches():
        for part in [batch] if space.per_sample else space.singly(batch):
            gates = mask.expand(n if space.per_sample else 1, -1).clone().requires_grad_()
            yield _Pass(space, part, gates, space.outputs(gates, part.inputs))


def _squares(rows: Rows) -> Scores:
    squares: Scores = np.square(rows, dtype=np.float64).sum(axis=0)
    return squares


def _derivative(pairs: Sequence[tuple[Tensor, Tensor | None]], gates: Tensor) -> Tensor:
    """``Σ zᵀ ∂y/∂gates``; outputs that hear no gate, as of a branch that stays, add nothing."""
    heard = [(y, z) for y, z in pairs if y.requires_grad]
    if not heard:
        return torch.zeros_like(gates)
    ys, zs = zip(*heard, strict=True)
    return torch.autograd.grad(ys, gates, zs, retain_graph=True)[0]
