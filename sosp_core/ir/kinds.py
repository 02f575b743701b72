"""Kinds of models that are valid ONNX, and cannot be compressed here.

Quantised models are among them. Cutting one would be exact: a DequantizeLinear works entry by entry,
so its integers and its scales of a channel could be sliced alike. Everything around the cut would
not: a rounding has no derivative, so there is no second-order price and no training behind it, and
scales that were calibrated on the wide network are wrong for the narrow one. The right order is to
compress the float model and to quantise the result, which a job can do.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from sosp_core.errors import ModelError, ModelQuantized, UnsupportedModel
from sosp_core.ir.view import inputs

#: Operators on quantised numbers whose names do not say so.
QUANTISED = frozenset(
    "ConvInteger MatMulInteger MatMulIntegerToFloat MatMulNBits MatMulBnb4 MatMulFpQ4 ConvIntegerToFloat "
    "QAttention QGemm QMoE QOrderedMatMul QEmbedLayerNormalization NhwcMaxPool".split()
)


def require_supported(model: ir.Model) -> None:
    """Refuse a model of a kind that cannot be compressed.

    Raises:
        ModelQuantized: It computes with quantised numbers.
        UnsupportedModel: Its inputs, outputs or weights have a type that is not handled.
    """
    if error := next(unsupported(model), None):
        raise error


def unsupported(model: ir.Model) -> Iterator[ModelError]:
    """Everything about the model's kind that stands in the way."""
    graph = model.graph
    quantised = [n for n in ir.traversal.RecursiveGraphIterator(graph) if _is_quantised(n.op_type)]
    if quantised:
        yield ModelQuantized(nodes=[f"{n.name or n.outputs[0].name} ({n.op_type})" for n in quantised])
    for kind, values in (("input", inputs(graph)), ("output", graph.outputs)):
        for value in values:
            if reason := _strange_type(value):
                yield UnsupportedModel(reason=f"{kind} {value.name!r} {reason}")


def _is_quantised(op_type: str) -> bool:
    return op_type in QUANTISED or "quantize" in op_type.lower() or op_type.startswith("QLinear")


def _strange_type(value: ir.Value) -> str | None:
    match value.type:
        case ir.SequenceType():
            return "is a sequence; only tensors can be fed and compared"
        case ir.OptionalType():
            return "is optional; only tensors can be fed and compared"
        case ir.SparseTensorType():
            return "is a sparse tensor; only dense ones can be fed and compared"
    if value.dtype == ir.DataType.STRING:
        return "holds strings; cut the text handling off the model and feed numbers"
    return None
