"""Make a model wider than it is and leave its function alone: surgery, the other way round.

A new structure is put beside the one it is modelled on, its *template*, on every axis that the
template occurs on; sizes grow by the rules they shrink by. Removing it again gives back the
original, bit for bit. Until training has found a use for it, it must not be heard:

- what it is made from (weights of convolutions, products, recurrent units) is *drawn*, so that
  no two structures are alike and each can learn something of its own;
- where it is read it is multiplied with zeros, as in ``y = W x + 0 · x_new``: the gradient of
  those zeros is what the new structure has to say, so training starts at once;
- everything else (biases, normalisation, masks) is copied from the template.

Where new structures feed new ones, weights are drawn too: both are silent.

Some readers hold no weights. A product of two computed tensors, as of queries and keys, is silent
if one of them is: of all that makes such a structure the first half is drawn, the rest is zero. A
plain sum over channels has no other factor: there all that makes them is zero. Whether that is
enough (a sigmoid answers zero with a half) shows in the proof that follows, see ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sosp_core.structures.structures import STAYS, Members, Structures
from sosp_core.surgery.apply import infer_shapes, write_size

#: For each structure how many new ones are modelled on it.
Copies = NDArray[np.int64]

#: Inputs that hold the weights of sums, by operator; everything else is scale, shift or mask.
WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "FusedConv": (1,),
    "Gemm": (1,),
    "FusedGemm": (1,),
    "MatMul": (1,),
    "FusedMatMul": (1,),
    "Einsum": tuple(range(16)),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Attention": (1,),
    "Gather": (0,),
}


def copies_of(structures: Structures, extra: NDArray[np.int64]) -> Copies:
    """Spread ``extra[g]`` new structures evenly over the templates of each group."""
    copies = np.zeros(structures.count, dtype=np.int64)
    for group, more in zip(structures.groups, extra.tolist(), strict=True):
        n = len(group.members)
        steps = np.arange(n + 1) * more // n  # counts before each template, and after the last
        copies[group.members] = np.diff(steps)
    return copies


def widen(model: ir.Model, structures: Structures, copies: Copies, seed: int) -> ir.Model:
    """Copy ``model`` with ``copies[s]`` more structures like s, none of which is heard yet.

    Names, types, dynamic dimensions, opsets and metadata survive, as in ``slim``.
    """
    wide = model.clone()
    nodes = {node.name or "": node for node in wide.graph}
    rng = np.random.default_rng(seed)
    for plan in _plans(wide, structures, copies):
        _grow(wide.graph.initializers[plan.name], plan, rng)
    for size in structures.sizes:
        number = len(_grown(size.members, copies)[0])
        write_size(wide.graph, nodes[size.place.node], size.place, number)
    infer_shapes(wide)
    return wide


@dataclass(frozen=True)
class _Axis:
    """How one axis of an initializer grows.

    Attributes:
        source: For each new index the old one whose values it starts from.
        new: Whether it is one of a new structure.
        read: Whether the initializer is summed over this axis.
        silent: New indices that are to make nothing.
    """

    source: NDArray[np.intp]
    new: NDArray[np.bool_]
    read: bool
    silent: NDArray[np.bool_]


@dataclass(frozen=True)
class _Plan:
    """How one initializer grows; ``drawn`` if its new entries are random."""

    name: str
    drawn: bool
    axes: Mapping[int, _Axis]


def _plans(model: ir.Model, structures: Structures, copies: Copies) -> Iterator[_Plan]:
    read = {weight for gate in structures.gates for weight in gate.weights if weight is not None}
    muted = {True: _Muted(structures), False: _Muted(structures)}
    drawn = {name: _is_weight(model.graph.initializers[name]) for name in structures.slices}
    for name, axes in structures.slices.items():
        for axis, members in axes.items():
            if (name, axis) not in read:
                muted[drawn[name]].count(members)
    for name, axes in structures.slices.items():
        grown: dict[int, _Axis] = {}
        for axis, members in axes.items():
            source, new = _grown(members, copies)
            made = (name, axis) not in read
            silent = muted[drawn[name]].next(members) if made else np.zeros(len(members), dtype=np.bool_)
            grown[axis] = _Axis(source=source, new=new, read=not made, silent=new & silent[source])
        yield _Plan(name, drawn[name], grown)


def _is_weight(value: ir.Value) -> bool:
    return any(position in WEIGHTS.get(node.op_type, ()) for node, position in value.uses())


def _grown(members: Members, copies: Copies) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Old index and newness of every index of a grown axis.

    A run of indices of one structure (the pixels of a flattened channel, the numbers of a head) is
    repeated as a whole, so that whatever splits the axis again finds runs of the same length.
    """
    starts = np.flatnonzero(np.diff(members, prepend=members[:1] - 1))
    source: list[NDArray[np.intp]] = []
    new: list[NDArray[np.bool_]] = []
    for start, end in pairwise((*starts.tolist(), len(members))):
        structure = int(members[start])
        more = 0 if structure == STAYS else int(copies[structure])
        source.append(np.tile(np.arange(start, end), 1 + more))
        new.append(np.arange((1 + more) * (end - start)) >= end - start)
    return np.concatenate(source), np.concatenate(new)


class _Muted:
    """Which occurrences of a structure on the axes that make it stay silent, in graph order.

    None, where weights can silence its readers; all, where one of them is a plain sum; the second
    half, where some are products of computed tensors.
    """

    def __init__(self, structures: Structures) -> None:
        self._first_silent = np.ones(structures.count)  # as a share of the occurrences
        for gate in structures.gates:
            nodes = [node for node, _ in gate.readers]
            for node, weight in zip(nodes, gate.weights, strict=True):
                if weight is None:
                    members = gate.members[gate.members != STAYS]
                    partnered = _reads_twice(structures, node)
                    share = np.minimum(self._first_silent[members], 0.5 if partnered else 0.0)
                    self._first_silent[members] = share
        self._total = np.zeros(structures.count, dtype=np.int64)
        self._seen = np.zeros(structures.count, dtype=np.int64)

    def count(self, members: Members) -> None:
        """Take note of occurrences before any is asked for."""
        np.add.at(self._total, members[members != STAYS], 1)

    def next(self, members: Members) -> NDArray[np.bool_]:
        """Whether each of the next occurrences is a silent one."""
        silent = np.zeros(len(members), dtype=np.bool_)
        for i in np.flatnonzero((members != STAYS) & (self._first_silent[members] < 1)):
            s = members[i]
            silent[i] = self._seen[s] >= np.ceil(self._first_silent[s] * self._total[s])
            self._seen[s] += 1
        return silent


def _reads_twice(structures: Structures, node: str) -> bool:
    """Whether a node multiplies two structured tensors with each other."""
    positions = {p for gate in structures.gates for name, p in gate.readers if name == node}
    return len(positions) > 1


def _grow(value: ir.Value, plan: _Plan, rng: np.random.Generator) -> None:
    tensor = value.const_value
    if tensor is None:  # a bound initializer always holds its weights
        return
    old = tensor.numpy()
    array = old
    for axis, grown in plan.axes.items():
        array = np.take(array, grown.source, axis=axis)
    if plan.drawn or any(grown.silent.any() for grown in plan.axes.values()):
        made = _where(plan, array.ndim, lambda g: g.new & ~np.bool_(g.read))
        heard = _where(plan, array.ndim, lambda g: g.new & np.bool_(g.read)) & ~made
        silent = _where(plan, array.ndim, lambda g: g.silent) | (heard if plan.drawn else False)
        if plan.drawn:
            noise = rng.standard_normal(array.shape) * _spread(old, plan)
            array = np.where(np.broadcast_to(made, array.shape), noise.astype(old.dtype), array)
        array = np.where(np.broadcast_to(silent, array.shape), np.zeros((), old.dtype), array)
    value.const_value = ir.Tensor(np.ascontiguousarray(array), dtype=tensor.dtype, name=value.name)
    value.shape = ir.Shape(array.shape)


def _where(plan: _Plan, rank: int, entries: Callable[[_Axis], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """True where ``entries`` is, along any axis; broadcasts against the grown array."""
    found = np.zeros((1,) * rank, dtype=np.bool_)
    for axis, grown in plan.axes.items():
        found = found | entries(grown).reshape([-1 if a == axis else 1 for a in range(rank)])
    return found


def _spread(old: NDArray[Any], plan: _Plan) -> float:
    """Standard deviation of what is drawn: as trained weights around it, or else by He et al. (2015).

    The scale that training has settled on keeps activations in the range that normalisation and
    later layers expect; ``√(2 / fan-in)`` is what it started from.
    """
    own = float(np.sqrt(np.mean(np.square(old, dtype=np.float64))))
    made = [old.shape[axis] for axis, grown in plan.axes.items() if not grown.read]
    return own or float(np.sqrt(2 * max(made, default=1) / max(old.size, 1)))
