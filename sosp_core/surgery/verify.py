"""Checks on models, with ONNX Runtime as the referee."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from sosp_core.errors import Diverged, ModelError, OutputRejected
from sosp_core.ir.interface import interface
from sosp_core.runtime.distance import finite_where, relative_error
from sosp_core.runtime.session import Array, open_session, run, serialize


def require_close(
    got: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerance: float,
    error: type[Diverged],
) -> float:
    """Compare tensors by name; the largest relative error.

    Raises:
        Diverged: Of the given class, for the first tensor whose error exceeds ``tolerance``.
    """
    worst = 0.0
    for name, reference in expected.items():
        distance = relative_error(got[name], reference)
        if not distance <= tolerance:
            raise error(tensor=name, error=distance, tolerance=tolerance)
        worst = max(worst, distance)
    return worst


def require_finite(got: Mapping[str, Array], original: Callable[[], Mapping[str, Array]]) -> None:
    """Check that outputs are numbers wherever the original's are; it is asked only if some are none.

    That a file computes what a network does says nothing where both compute NaN.

    Raises:
        OutputRejected: One is not.
    """
    odd = [name for name, y in got.items() if y.dtype.kind == "f" and not np.isfinite(y).all()]
    expected = original() if odd else {}
    for name in odd:
        if not finite_where(got[name], expected[name]):
            raise OutputRejected(reason=f"output {name!r} is NaN or infinite where the original's is not")


def require_loadable(model: ir.Model, original: ir.Model) -> bytes:
    """Pass a finished model through checker, strict shape inference and a session; its bytes.

    Raises:
        OutputRejected: One of them objects, or inputs and outputs are not those of the original.
    """
    content = serialize(model)
    try:
        onnx.checker.check_model(content, full_check=True)
        open_session(content)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ModelError) as error:
        raise OutputRejected(reason=str(error).strip().splitlines()[0]) from error
    if interface(model) != interface(original):
        raise OutputRejected(reason=f"its interface changed to {interface(model)}")
    return content


def outputs_of(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a model in ONNX Runtime, unoptimised, so that comparisons see the graph itself."""
    return run(open_session(model, optimise=False), feeds)
