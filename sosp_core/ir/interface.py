"""What goes into a model and what comes out: names, types, shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.errors import UnsupportedModel
from sosp_core.ir.view import inputs


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output.

    Attributes:
        shape: Fixed dimensions as int, dynamic ones by their name (``"?"`` if they have none).
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str, ...]

    @property
    def batch(self) -> int | None:
        """The fixed size of the first axis, or None if it is dynamic."""
        first = self.shape[0]
        return first if isinstance(first, int) else None

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """All inputs and outputs of a model; the first axis of each input counts samples."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def batch(self) -> int | None:
        """The batch size the model is fixed to, or None if any will do."""
        return next((p.batch for p in self.inputs if p.batch is not None), None)


def interface(model: ir.Model) -> Interface:
    """Describe the ports of a model.

    Raises:
        UnsupportedModel: An input is not a tensor of numbers with a batch axis.
    """
    return Interface(
        inputs=tuple(_port(v, "input") for v in inputs(model.graph)),
        outputs=tuple(_port(v, "output") for v in model.graph.outputs),
    )


def _port(value: ir.Value, kind: str) -> Port:
    name = value.name or ""
    if value.dtype in (None, ir.DataType.UNDEFINED) or not isinstance(value.type, ir.TensorType):
        raise UnsupportedModel(reason=f"{kind} {name!r} is not a tensor with a type")
    if value.dtype == ir.DataType.STRING:
        raise UnsupportedModel(reason=f"{kind} {name!r} holds strings")
    if kind == "input" and (value.shape is None or value.shape.rank() == 0):
        raise UnsupportedModel(reason=f"{kind} {name!r} has no batch axis")
    dims = () if value.shape is None else tuple(_dim(d) for d in value.shape.dims)
    return Port(name=name, dtype=value.type.dtype.numpy(), shape=dims)


def _dim(dim: int | ir.SymbolicDim) -> int | str:
    return dim if isinstance(dim, int) else str(dim.value or "?")
