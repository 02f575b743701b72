"""Second-order structured pruning of ONNX models.

``compress`` and its result types load torch and ONNX Runtime on first use; errors, recipe and
progress are importable where those are not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sosp_core.config import Recipe
from sosp_core.errors import SospError
from sosp_core.progress import NullProgress, Progress

if TYPE_CHECKING:
    from sosp_core.pipeline import Outcome, compress

__all__ = ["NullProgress", "Outcome", "Progress", "Recipe", "SospError", "compress"]


def __getattr__(name: str) -> Any:
    if name in {"compress", "Outcome"}:
        from sosp_core import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
