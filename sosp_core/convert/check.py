"""Prove that a converted network computes what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
from sosp_core.convert.table import UNFIT
from sosp_core.errors import ConversionDiverged, ConversionFailed
from sosp_core.ir.view import values
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.observe import observe
from sosp_core.runtime.session import Array

#: Both sides add in float32 but in another order. Seen 2e-6 on ResNet-56; a wrong attribute
#: or padding gives errors near 1.
TOLERANCE = 1e-3
#: ONNX Runtime rounds every tensor of a float16 model to 11 bits (5e-4), the network does not.
#: Seen 3e-4 on five layers; a wrong attribute still gives errors near 1.
HALF_TOLERANCE = 1e-2
#: One node on equal operands: the same sum in another order. Seen 3e-6.
NODE_TOLERANCE = 1e-4
#: Beyond that, outputs say more about the order of sums than about the input.
MOST_ROUNDING = 5e-2


def tolerance_of(model: ir.Model) -> float:
    """How far apart ONNX Runtime and a right network may be on this model."""
    return max(TOLERANCE, rounding_of(model))


def rounding_of(model: ir.Model) -> float:
    """How far apart two right ways may be for the sake of half-precision tensors alone; 0 without any."""
    tensors = (*model.graph.initializers.values(), *values(model.graph), *model.graph.inputs)
    return HALF_TOLERANCE if any(v.dtype == ir.DataType.FLOAT16 for v in tensors) else 0.0


def require_same_function(network: Network, model: ir.Model, feeds: Mapping[str, Array]) -> float:
    """Compare outputs on ``feeds``; the largest relative error.

    Outputs further apart than the tolerance are no proof of a wrong network: hundreds of layers with
    random weights can turn the last bit of the first into the third digit of the last. So each node is
    then computed from ONNX Runtime's own tensors. If every node agrees, what is left is rounding, and
    up to ``MOST_ROUNDING`` of it is let through.

    Raises:
        ConversionFailed: The network cannot compute what ONNX Runtime can.
        ConversionDiverged: With the first node, in topological order, that computes something else; or
            with an output, and no node, if rounding alone grows beyond ``MOST_ROUNDING``.

    Cost: one run of each; beyond the tolerance one more of each with every tensor kept.
    """
    tolerance = tolerance_of(model)
    errors = _errors(network, model, feeds)
    worst = max(errors, key=errors.__getitem__, default="")
    if not worst or errors[worst] <= tolerance:
        return errors.get(worst, 0.0)
    _require_same_nodes(network, model, feeds)
    if errors[worst] > max(tolerance, MOST_ROUNDING):
        raise ConversionDiverged(tensor=worst, error=errors[worst], tolerance=MOST_ROUNDING)
    return errors[worst]


def _errors(network: Network, model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, float]:
    expected = observe(model, feeds, network.output_names)
    arguments = [torch.as_tensor(feeds[name]) for name in network.input_names]
    with torch.no_grad(), _failing_as_one():
        got = network(*arguments)
    return {
        name: relative_error(tensor.detach().numpy(), expected[name])
        for name, tensor in zip(network.output_names, got, strict=True)
    }


def _require_same_nodes(network: Network, model: ir.Model, feeds: Mapping[str, Array]) -> None:
    tolerance = NODE_TOLERANCE + rounding_of(model)
    expected = {**observe(model, feeds, [v.name or "" for v in values(model.graph)]), **feeds}
    arrays = {name: a for name, a in expected.items() if isinstance(a, np.ndarray)}
    read = {v.name for v in values(model.graph) if v.uses() or v.is_graph_output()}
    with torch.no_grad(), _failing_as_one():
        for node, name, got in network.steps_on({n: _as_held(a) for n, a in arrays.items()}):
            if name not in arrays or name not in read:
                continue
            error = relative_error(got.detach().numpy(), arrays[name])
            if not error <= tolerance:
                raise ConversionDiverged(tensor=name, error=error, tolerance=tolerance, node=node)


def _as_held(array: Array) -> torch.Tensor:
    tensor = torch.as_tensor(array)
    return tensor.float() if tensor.dtype == torch.float16 else tensor


@contextmanager
def _failing_as_one() -> Iterator[None]:
    """Whatever torch makes of operands that do not fit becomes one kind of error."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except UNFIT as error:
        at = next(iter(getattr(error, "__notes__", [])), None)
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConversionFailed(reason=reason, node=at) from error
