"""Prove that a converted network computes what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
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


def tolerance_of(model: ir.Model) -> float:
    """How far apart ONNX Runtime and a right network may be on this model."""
    return max(TOLERANCE, rounding_of(model))


def rounding_of(model: ir.Model) -> float:
    """How far apart two right ways may be for the sake of half-precision tensors alone; 0 without any."""
    tensors = (*model.graph.initializers.values(), *values(model.graph), *model.graph.inputs)
    return HALF_TOLERANCE if any(v.dtype == ir.DataType.FLOAT16 for v in tensors) else 0.0


def require_same_function(network: Network, model: ir.Model, feeds: Mapping[str, Array]) -> float:
    """Compare outputs on ``feeds``; the largest relative error.

    Raises:
        ConversionFailed: The network cannot compute what ONNX Runtime can.
        ConversionDiverged: With the first tensor, in topological order, that differs.

    Cost: one run of each; on failure one more of each with every tensor kept.
    """
    names, tolerance = network.output_names, tolerance_of(model)
    errors = _errors(network, model, feeds, names)
    if all(e <= tolerance for e in errors.values()):
        return max(errors.values(), default=0.0)
    makers = {v.name or "": n.name or "" for n in model.graph for v in n.outputs}
    inner = [v.name or "" for v in values(model.graph)]
    for name, error in (_errors(network, model, feeds, inner) | errors).items():
        if not error <= tolerance:
            raise ConversionDiverged(tensor=name, error=error, tolerance=tolerance, node=makers.get(name))
    return max(errors.values())


def _errors(
    network: Network, model: ir.Model, feeds: Mapping[str, Array], names: list[str]
) -> dict[str, float]:
    expected = observe(model, feeds, names)
    arguments = [torch.as_tensor(feeds[name]) for name in network.input_names]
    try:
        with torch.no_grad():
            got = network.tensors(arguments, names)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # whatever torch makes of operands that do not fit
        at = next(iter(getattr(error, "__notes__", [])), None)
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConversionFailed(reason=reason, node=at) from error
    return {
        name: relative_error(tensor.detach().numpy(), expected[name])
        for name, tensor in zip(names, got, strict=True)
        if name in expected and isinstance(tensor, torch.Tensor)
    }
