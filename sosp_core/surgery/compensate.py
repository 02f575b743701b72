"""Let the kept channels stand in for the removed ones, by least squares, before any training.

Where a layer sums over channels ``x`` of which only K stay, the removed ones are predicted from
the kept ones, ``x_R ≈ x_K A``, and the prediction is folded into the layer's weights:
``W'_k = W_k + Σ_r A[k, r] W_r``. A is the ridge solution from the second moments of the
original's activations, so nothing but a forward pass over calibration data is needed.

Source: the reconstruction step of He et al. (2017), arXiv:1707.06168, in closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.structures.structures import Alive, Gate, Members, Structures, kept_positions

Matrix = NDArray[np.float64]

#: Relative to the mean diagonal of the moments; keeps dead channels from exploding.
RIDGE = 1e-3
#: A moment matrix has this many rows at most: 128 MiB, and a solve of about a second.
WIDEST = 4096


@dataclass(frozen=True)
class _Target:
    """A weight that can absorb a prediction: it is read by one node only, along one axis."""

    initializer: str
    axis: int
    gate: Gate
    others: Mapping[int, Members]


def compensate(
    original: ir.Model,
    slim: ir.Model,
    structures: Structures,
    alive: Alive,
    network: Network,
    batches: Iterable[Sequence[Tensor]],
) -> ir.Model:
    """Fold least-squares predictions of what was removed into the weights of ``slim``, in place.

    Args:
        original: The model before surgery.
        slim: The model after it.
        structures: Of the original.
        alive: The plan.
        network: The original as a torch network, on any device.
        batches: Inputs in graph order, on the same device.

    Cost: one forward pass of the original over ``batches``; for each gate a C x C solve.
    """
    targets = [
        t
        for t in _targets(original, structures)
        if t.initializer in slim.graph.initializers and not bool(alive[t.gate.members].all())
    ]
    names = sorted({t.gate.value for t in targets if t.gate.value in network.value_names})
    if not names:
        return slim
    axes = {t.gate.value: t.gate.axis for t in targets}
    moments = _moments(network, batches, names, axes)
    for target in targets:
        if target.gate.value in moments:
            _absorb(original, slim, target, alive, moments[target.gate.value])
    return slim


def _targets(model: ir.Model, structures: Structures) -> Iterable[_Target]:
    for gate in structures.gates:
        if len(gate.members) > WIDEST:
            continue
        for weight in gate.weights:
            if weight is None or len(model.graph.initializers[weight[0]].uses()) != 1:
                continue
            name, axis = weight
            slices = structures.slices[name]
            if name != gate.value and np.array_equal(slices[axis], gate.members):
                yield _Target(name, axis, gate, {a: m for a, m in slices.items() if a != axis})


@torch.no_grad()
def _moments(
    network: Network, batches: Iterable[Sequence[Tensor]], names: list[str], axes: dict[str, int]
) -> dict[str, Matrix]:
    """Second moments by value; of those that are no numbers somewhere there are none."""
    sums: dict[str, Tensor] = {}
    for inputs in batches:
        for name, x in zip(names, network.tensors(inputs, names), strict=True):
            rows = x.movedim(axes[name], -1).reshape(-1, x.shape[axes[name]]).float()
            # Squares of large values overflow float32, and products in float64 are slow on most GPUs.
            peak = rows.abs().max().clamp(min=torch.finfo(rows.dtype).tiny)
            rows = rows / peak
            part = (rows.T @ rows).double() * peak.double().square()
            sums[name] = sums[name] + part if name in sums else part
    return {name: total.cpu().numpy() for name, total in sums.items() if bool(total.isfinite().all())}


def _absorb(original: ir.Model, slim: ir.Model, target: _Target, alive: Alive, moment: Matrix) -> None:
    value, source = (
        slim.graph.initializers[target.initializer],
        original.graph.initializers[target.initializer],
    )
    if value.const_value is None or source.const_value is None:  # both hold weights
        return
    kept = kept_positions(target.gate.members, alive)
    removed = np.setdiff1d(np.arange(len(target.gate.members)), kept)
    gram = moment[np.ix_(kept, kept)]
    ridge = RIDGE * max(float(np.trace(gram)) / len(kept), 1e-30)
    prediction = np.linalg.solve(gram + ridge * np.eye(len(kept)), moment[np.ix_(kept, removed)])
    lost = np.take(source.const_value.numpy().astype(np.float64), removed, axis=target.axis)
    for axis, members in target.others.items():
        lost = np.take(lost, kept_positions(members, alive), axis=axis)
    dtype = value.const_value.dtype
    weights = value.const_value.numpy().astype(np.float64)
    moved = np.tensordot(prediction, np.moveaxis(lost, target.axis, 0), axes=1)
    weights = weights + np.moveaxis(moved, 0, target.axis)
    value.const_value = ir.Tensor(
        np.ascontiguousarray(weights.astype(dtype.numpy())), dtype=dtype, name=value.name
    )
