"""bfloat16 models: computed in float32, of which they hold the upper half, and written back.

ONNX Runtime has next to no bfloat16 kernels for CPUs, so nothing here could referee such a model
as it is. In float32 every value it can hold is exact; what it would have rounded on the way is not
rounded, which is nearer to what its author trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from sosp_core.ir.view import inputs

NARROW, WIDE = ir.DataType.BFLOAT16, ir.DataType.FLOAT
#: Set on a widened initializer: the bytes that one element of it takes in the file.
STORED = "sosp.stored_itemsize"
#: Attributes that name an element type.
TYPES = ("to", "dtype")


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """What has to be bfloat16 again before the model is handed out.

    Attributes:
        values: Names of tensors: initializers, inputs, and what nodes make.
        types: (node, attribute) that name an element type, or hold a tensor.
    """

    values: frozenset[str]
    types: frozenset[tuple[str, str]]

    def __bool__(self) -> bool:
        return bool(self.values or self.types)


def widen(model: ir.Model) -> Narrowed:
    """Turn everything bfloat16 into float32, in place, and say what that was.

    Args:
        model: In normal form: its shapes and types are inferred.
    """
    narrow = [value for value in _values(model.graph) if value.dtype == NARROW]
    for value in narrow:
        _retype(value, WIDE)
        if value.is_initializer():
            value.meta[STORED] = NARROW.itemsize
    types = frozenset(_retype_attributes(model.graph, None, NARROW, WIDE))
    return Narrowed(values=frozenset(v.name or "" for v in narrow), types=types)


def narrow(model: ir.Model, told: Narrowed) -> ir.Model:
    """The model in its own types again, in place: weights are rounded to nearest, ties to even.

    A weight that was not there before takes the type of what it is combined with.
    """
    for value in _values(model.graph):
        known = (value.name or "") in told.values
        if value.dtype == WIDE and (known or (value.is_initializer() and _meets(value, told))):
            _retype(value, NARROW)
    for _ in _retype_attributes(model.graph, told.types, WIDE, NARROW):
        pass
    ends = {v.name for v in (*inputs(model.graph), *model.graph.outputs)}
    for value in (v for node in model.graph for v in node.outputs if v.name not in ends):
        value.type, value.shape = None, None
    passes.ShapeInferencePass(strict_mode=False)(model)
    return model


def round_weights(model: ir.Model, told: Narrowed) -> ir.Model:
    """Weights that are exact in the file's own types, still held as float32, in place."""
    for value in model.graph.initializers.values():
        if value.dtype == WIDE and ((value.name or "") in told.values or _meets(value, told)):
            _retype(value, NARROW)
            _retype(value, WIDE)
    return model


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.initializers.values()
    yield from inputs(graph)
    for node in graph:
        yield from (v for v in node.outputs if v.name)


def _retype(value: ir.Value, dtype: ir.DataType) -> None:
    value.type = ir.TensorType(dtype)
    if (tensor := value.const_value) is not None:
        array = tensor.numpy().astype(dtype.numpy())
        value.const_value = ir.Tensor(array, dtype=dtype, name=value.name)


def _meets(value: ir.Value, told: Narrowed) -> bool:
    """Whether the first tensor of a node that reads it, or else its result, was narrow."""
    for node, _ in value.uses():
        others = [v.name or "" for v in (*node.inputs[:1], *node.outputs) if v is not None and v is not value]
        if others and others[0] in told.values:
            return True
    return False


def _retype_attributes(
    graph: ir.Graph, chosen: frozenset[tuple[str, str]] | None, old: ir.DataType, new: ir.DataType
) -> Iterator[tuple[str, str]]:
    """Change element types that attributes name or hold; ``chosen`` ones, or all of the old type."""
    for node in graph:
        for name, attr in list(node.attributes.items()):
            key = (node.name or "", name)
            if chosen is not None and key not in chosen:
                continue
            if attr.type == ir.AttributeType.TENSOR and attr.as_tensor().dtype == old:
                held = attr.as_tensor()
                array = np.asarray(held.numpy()).astype(new.numpy())
                node.attributes[name] = ir.AttrTensor(name, ir.Tensor(array, dtype=new, name=held.name))
                yield key
            elif name in TYPES and attr.type == ir.AttributeType.INT and attr.as_int() == old:
                node.attributes[name] = ir.AttrInt64(name, int(new))
                yield key
