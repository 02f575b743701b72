"""What each operator does to channel slots: one rule an operator, one family a module.

Importing the package fills ``sosp_core.ops.table.rules``.
"""

from sosp_core.ops import (
    attention,
    contraction,
    einsum,
    indexing,
    layout,
    normalisation,
    pointwise,
    pooling,
    recurrent,
    reduction,
)

__all__ = [
    "attention",
    "contraction",
    "einsum",
    "indexing",
    "layout",
    "normalisation",
    "pointwise",
    "pooling",
    "recurrent",
    "reduction",
]
