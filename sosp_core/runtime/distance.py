"""How far two tensors are apart."""

from __future__ import annotations

import numpy as np

from sosp_core.runtime.session import Array


def relative_error(got: Array, expected: Array) -> float:
    """Largest difference over the largest expected magnitude; infinite if shapes differ or on NaN."""
    if got.shape != expected.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "biu":
        return float(np.count_nonzero(got != expected)) / expected.size
    a, b = got.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(a).all():
        return 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf")
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))
