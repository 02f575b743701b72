"""Masks of onnxsim: its structured pruning on the same file, its choices read off and cut like ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxsim.pruning import apply_structured_pruning, apply_structured_wanda_pruning

from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.session import open_session, run, serialize
from sosp_core.structures.structures import STAYS, Alive
from sosp_core.surgery.apply import slim
from tests.benchmarks.peers.ground import Ground

#: It wants less than 1.
MOST, HALVINGS = 0.99, 10
BATCH = 32
#: BatchNorm folded or not: the same function, rounded elsewhere. Seen 2e-5.
TOLERANCE = 1e-3

Prune = Callable[..., onnx.ModelProto]
Biases = dict[str, NDArray[np.float32]]


def _magnitude(ground: Ground) -> Prune:
    return apply_structured_pruning


def _wanda(ground: Ground) -> Prune:
    calibration = [dict(part.inputs) for part in ground.samples().batches(BATCH)]
    return partial(apply_structured_wanda_pruning, calibration_data=calibration)


CRITERIA: dict[str, Callable[[Ground], Prune]] = {"onnxsim magnitude": _magnitude, "onnxsim Wanda": _wanda}


def masks(ground: Ground, criterion: str) -> dict[float, Alive | None]:
    """By share, each in one step; None where no sparsity leaves so few MACs.

    It prunes what BatchNorm has been folded out of, by a share of each layer's channels: the
    smallest share that meets the MACs is looked for.
    """
    folded = onnx.load_from_string(serialize(fold_batchnorm(ground.subject.model.clone())))
    prune = CRITERIA[criterion](ground)
    return {share: _mask(ground, folded, prune, ground.target(share)) for share in ground.settings.shares}


def _mask(ground: Ground, folded: onnx.ModelProto, prune: Prune, target: int) -> Alive | None:
    def tried(sparsity: float) -> tuple[Alive, onnx.ModelProto]:
        pruned = prune(folded, sparsity=sparsity)
        return _read_off(ground, folded, pruned), pruned

    low, high = 0.0, MOST
    best = tried(high)
    if ground.macs(best[0]) > target:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = tried(middle)
        if ground.macs(found[0]) > target:
            low = middle
        else:
            high, best = middle, found
    _require_same(ground, *best)
    return best[0]


def _read_off(ground: Ground, folded: onnx.ModelProto, pruned: onnx.ModelProto) -> Alive:
    """Which filters stayed, by their biases: folding gives every filter one of its own."""
    alive, kept = ground.choice.structures.all_alive(), _biases(pruned)
    for name, biases in _biases(folded).items():
        if len(kept[name]) == len(biases):
            continue
        assert len(np.unique(biases)) == len(biases), f"two filters of {name} have the same bias"
        members = ground.choice.structures.slices[name][0][~np.isin(biases, kept[name])]
        assert (members != STAYS).all(), f"onnxsim takes what we do not offer of {name}"
        alive[members] = False
    return alive


def _biases(model: onnx.ModelProto) -> Biases:
    """Of every convolution, by the name of its weights."""
    stored = {w.name: w for w in model.graph.initializer}
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    return {node.input[1]: numpy_helper.to_array(stored[node.input[2]]) for node in convolutions}


def _require_same(ground: Ground, alive: Alive, pruned: onnx.ModelProto) -> None:
    """Their file and our cut by their mask are the same function."""
    probe = ground.subject.probe
    model = slim(ground.subject.model, ground.choice.structures, alive)
    expected = run(open_session(pruned.SerializeToString()), probe)["logits"]
    error = relative_error(run(open_session(model), probe)["logits"], expected)
    assert error <= TOLERANCE, f"the mask read off is not what was pruned: {error:.1e}"
