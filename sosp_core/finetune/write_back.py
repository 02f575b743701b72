"""Parameters of a trained network back into the initializers they came from."""

from __future__ import annotations

import onnx_ir as ir
import torch

from sosp_core.convert.network import Network
from sosp_core.ir.view import is_float


def write_back(network: Network, model: ir.Model) -> ir.Model:
    """Replace every float initializer of ``model`` by the network's value, in place.

    Parameters and running statistics alike; types and names stay.
    """
    for name, value in model.graph.initializers.items():
        attribute = network.attribute_of.get(name)
        if attribute is None or value.const_value is None or not is_float(value):
            continue
        tensor: torch.Tensor = getattr(network, attribute).detach().cpu().contiguous()
        dtype = value.const_value.dtype
        array = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        value.const_value = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=name)
    return model
