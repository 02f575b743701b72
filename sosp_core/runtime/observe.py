"""Every tensor of one run, and the shapes the structure rules need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import values
from sosp_core.runtime.session import Array, open_session, run


def observe(model: ir.Model, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """Run the model unoptimised and return the named tensors as well as its outputs.

    Cost: one run; memory of all named tensors at once.
    """
    known = {v.name for v in model.graph.outputs}
    wanted = [name for name in dict.fromkeys(names) if name not in known]
    return run(open_session(model, optimise=False, also=wanted), feeds)


@dataclass(frozen=True)
class Shapes:
    """The concrete shape and type of every tensor of the graph, from one run.

    Attributes:
        batch: Samples in that run; divides what is counted per sample.
    """

    shape: Mapping[str, tuple[int, ...]]
    dtype: Mapping[str, np.dtype[np.generic]]
    batch: int

    def of(self, value: ir.Value) -> tuple[int, ...]:
        """The shape of a value, initializers included."""
        return self.shape[value.name or ""]


def observe_shapes(model: ir.Model, feeds: Mapping[str, Array]) -> Shapes:
    """Run the model once on ``feeds`` and note the shape of everything.

    Shapes are observed rather than inferred: they are then true for every operator, also where
    symbolic inference gives up.
    """
    names = [v.name or "" for v in values(model.graph)]
    tensors = {**observe(model, feeds, names), **feeds}
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            tensors[name] = value.const_value.numpy()
    # Optional outputs that a node leaves out, or sequences, have no array and no shape.
    arrays = {name: t for name, t in tensors.items() if isinstance(t, np.ndarray)}
    return Shapes(
        shape={name: t.shape for name, t in arrays.items()},
        dtype={name: t.dtype for name, t in arrays.items()},
        batch=next(iter(feeds.values())).shape[0],
    )
