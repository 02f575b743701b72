"""onnx2torch's converters for operators that our own table lacks.

Our table exists because onnx2torch copies weights into submodules (so that shared weights
drift apart and matrix factors are not trainable) and stops at opsets 13 to 21. For operators
without weights of their own its modules serve as they are.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import onnx_ir as ir
from torch import Tensor, nn

from sosp_core.convert.absent import reason_against
from sosp_core.convert.shim import import_torchvision
from sosp_core.convert.table import Compute, Operator, Unconvertible


class Fallback:
    """onnx2torch's registry, consulted one node at a time."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    @cached_property
    def _graph(self) -> Any:
        import_torchvision()
        from onnx2torch.onnx_graph import OnnxGraph

        return OnnxGraph(ir.serde.serialize_model(self._model).graph)

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self._graph.nodes.values()}

    def build(self, node: ir.Node, operator: Operator) -> Compute:
        """The computation of one node.

        Raises:
            Unconvertible: onnx2torch has no converter either, or its module owns weights.
        """
        if reason := reason_against(operator):
            raise Unconvertible(reason)
        graph = self._graph
        from onnx2torch.node_converters import get_converter

        try:
            convert = get_converter(
                operation_type=operator.op_type, version=operator.opset, domain=operator.domain
            )
            module, mapping = convert(self._nodes[operator.name], graph)
        # How onnx2torch says that it has no converter, or none for what a node asks of it.
        except (NotImplementedError, KeyError) as error:
            raise Unconvertible("no converter") from error
        if any(t.is_floating_point() for t in (*module.parameters(), *module.buffers())):
            raise Unconvertible("its converter would copy the weights")
        names = [v.name if v is not None else "" for v in node.inputs]
        return _Reordered(module, [names.index(name) for name in mapping.inputs])


class _Reordered(nn.Module):
    """An onnx2torch module, called with the node's inputs in the order it wants them."""

    def __init__(self, module: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.module = module
        self.order = order

    def forward(self, *args: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Pass on the inputs that the module takes."""
        result: Tensor | tuple[Tensor, ...] = self.module(*(args[i] for i in self.order))
        return result
