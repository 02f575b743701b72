"""Dropout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sosp_core.convert.operands import static_number
from sosp_core.convert.table import Compute, Operator, converters


class Dropout(nn.Module):
    """The identity in eval mode; in train mode a share ``ratio`` becomes 0, the rest ``/ (1 − ratio)``.

    Args:
        ratio: The share, unless it is computed.
        always: The node drops in inference too (its own ``training_mode``); None if computed.
    """

    def __init__(self, ratio: float | None, always: bool | None, n_outputs: int) -> None:
        super().__init__()
        self.ratio, self.always, self.n_outputs = ratio, always, n_outputs

    def forward(
        self, x: Tensor, ratio: Tensor | None = None, training_mode: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Apply to ``x``; the second output tells which elements were kept."""
        always = bool(training_mode) if self.always is None else self.always
        if not (self.training or always):
            return (x, torch.ones_like(x, dtype=torch.bool)) if self.n_outputs > 1 else x
        share = self.ratio if self.ratio is not None else 0.5 if ratio is None else float(ratio)
        if self.n_outputs == 1:
            return F.dropout(x, share)
        kept = torch.rand_like(x) >= share
        return torch.where(kept, x, torch.zeros_like(x)) / max(1 - share, torch.finfo(x.dtype).tiny), kept


@converters.register("Dropout", since=7)
def dropout(op: Operator) -> Compute:
    """See the class; ratio is an attribute before opset 12, then an optional input."""
    if op.opset < 12:
        return Dropout(op.attribute("ratio", 0.5), False, op.n_outputs)
    ratio, mode = static_number(op, 1), static_number(op, 2)
    always = False if op.n_inputs < 3 else None if mode is None else bool(mode)
    return Dropout(None if ratio is None else float(ratio), always, op.n_outputs)
