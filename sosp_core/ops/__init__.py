"""What each operator does to channel slots: one rule an operator, one family a module.

Importing the package fills ``sosp_core.ops.table.rules``.
"""

from sosp_core.ops import (
    contraction,
    indexing,
    layout,
    normalisation,
    pointwise,
    pooling,
    reduction,
)

__all__ = ["contraction", "indexing", "layout", "normalisation", "pointwise", "pooling", "reduction"]
