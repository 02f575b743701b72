"""Prove that a converted network computes what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
from sosp_core.errors import ConversionDiverged
from sosp_core.ir.view import values
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.observe import observe
from sosp_core.runtime.session import Array

#: Both sides add in float32 but in another order. Seen 2e-6 on ResNet-56; a wrong attribute
#: or padding gives errors near 1.
TOLERANCE = 1e-3


def require_same_function(network: Network, model: ir.Model, feeds: Mapping[str, Array]) -> float:
    """Compare outputs on ``feeds``; the largest relative error.

    Raises:
        ConversionDiverged: With the first tensor, in topological order, that differs.

    Cost: one run of each; on failure one more of each with every tensor kept.
    """
    names = network.output_names
    errors = _errors(network, model, feeds, names)
    if all(e <= TOLERANCE for e in errors.values()):
        return max(errors.values(), default=0.0)
    makers = {v.name or "": n.name or "" for n in model.graph for v in n.outputs}
    inner = [v.name or "" for v in values(model.graph)]
    for name, error in (_errors(network, model, feeds, inner) | errors).items():
        if not error <= TOLERANCE:
            raise ConversionDiverged(tensor=name, error=error, tolerance=TOLERANCE, node=makers.get(name))
    return max(errors.values())


def _errors(
    network: Network, model: ir.Model, feeds: Mapping[str, Array], names: list[str]
) -> dict[str, float]:
    expected = observe(model, feeds, names)
    with torch.no_grad():
        arguments = [torch.as_tensor(feeds[name]) for name in network.input_names]
        got = network.tensors(arguments, names)
    return {
        name: relative_error(tensor.numpy(), expected[name])
        for name, tensor in zip(names, got, strict=True)
        if name in expected and isinstance(tensor, torch.Tensor)
    }
