"""Gradient and Hessian-vector product of a mean loss over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from sosp_core.errors import NotDeterministic

Batch = TypeVar("Batch")


def gradient_and_hvp(
    loss: Callable[[Tensor, Batch], Tensor],
    point: Tensor,
    direction: Tensor,
    batches: Iterable[tuple[int, Batch]],
) -> tuple[Tensor, Tensor]:
    """Differentiate the mean loss at ``point``, once and once more along ``direction``.

    Args:
        loss: ``(point, batch) -> scalar``, the mean over the batch; stateless.
        point: The variables ``[S]``.
        direction: A vector ``[S]``.
        batches: Pairs (samples, batch); a batch weighs by its samples.

    Returns:
        ``∇L [S]`` and ``∇²L · direction [S]``, in float64.

    Raises:
        NotDeterministic: Two evaluations of the first batch disagree.

    Cost: per batch one forward and one backward pass, and the backward pass of both; no
    gradients of weights. Memory is that of one batch.
    Source: Pearlmutter (1994), doi:10.1162/neco.1994.6.1.147, by reverse-over-reverse.
    """
    gradient = torch.zeros_like(point, dtype=torch.float64)
    product = torch.zeros_like(gradient)
    seen = 0
    for samples, batch in batches:
        if not seen:
            require_deterministic(loss, point, batch)
        seen += samples
        at = point.detach().requires_grad_()
        value = loss(at, batch)
        if not value.requires_grad:  # no variable reaches it
            continue
        (g,) = torch.autograd.grad(value, at, create_graph=True)
        # A loss that is linear in the variables has a constant gradient and no graph.
        hv = torch.autograd.grad(g @ direction, at)[0] if g.requires_grad else torch.zeros_like(g)
        gradient += samples * g.detach().double()
        product += samples * hv.double()
    return gradient / seen, product / seen


def require_deterministic(
    loss: Callable[[Tensor, Batch], Tensor], point: Tensor, batch: Batch, tolerance: float = 1e-5
) -> None:
    """Evaluate the loss twice; shuffling, dropout or batch statistics would corrupt a Hessian silently.

    Raises:
        NotDeterministic: The two differ by more than ``tolerance``, relative.
    """
    with torch.no_grad():
        first, second = float(loss(point, batch)), float(loss(point, batch))
    difference = abs(first - second) / max(abs(first), 1e-12)
    if difference > tolerance:
        raise NotDeterministic(quantity="losses", difference=difference)
