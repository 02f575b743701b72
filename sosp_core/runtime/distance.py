"""How far two tensors are apart."""

from __future__ import annotations

import numpy as np

from sosp_core.runtime.session import Array


def relative_error(got: Array, expected: Array) -> float:
    """Largest difference over the largest expected magnitude; infinite if shapes differ.

    Where either is NaN or infinite the other must be the same, else it is infinite, too.
    """
    if got.shape != expected.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "biu":
        return float(np.count_nonzero(got != expected)) / expected.size
    a, b = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    a, b = a[finite], b[finite]
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))


def finite_where(got: Array, expected: Array) -> bool:
    """Whether ``got`` holds numbers wherever ``expected`` does, or everywhere if shapes differ."""
    if got.shape != expected.shape:
        return bool(np.isfinite(got).all())
    return bool((np.isfinite(got) | ~np.isfinite(expected)).all())
