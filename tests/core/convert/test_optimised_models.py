"""Files that ONNX Runtime's own optimisers wrote: fused operators, as people get them from its tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnxruntime.transformers.optimizer import optimize_model

from sosp_core.convert.check import require_same_function
from sosp_core.convert.network import Network
from sosp_core.errors import SurgeryDiverged
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import Array, open_session, run, serialize
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import gate_model
from sosp_core.surgery.apply import slim
from sosp_core.surgery.verify import outputs_of, require_close
from tests.zoo import exporting
from tests.zoo.bert import HEADS, KINDS, LENGTH, VOCABULARY, WIDTH, Bert
from tests.zoo.built import Built, prepare, random_mask
from tests.zoo.graphs import as_model
from tests.zoo.networks import EXPORTS, build_export, trained

X = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
NAMES = ["ids", "seen", "kind"]


def tokens() -> dict[str, Array]:
    """Three texts, two of them shorter than the longest."""
    rng = np.random.default_rng(0)
    seen = (np.arange(LENGTH) < np.array([LENGTH, 9, 5])[:, None]).astype(np.int64)
    ids, kind = (rng.integers(0, size, seen.shape) for size in (VOCABULARY, KINDS))
    return dict(zip(NAMES, (ids, seen, kind), strict=True))


def exported(*, dynamo: bool, gelu: str) -> bytes:
    module = trained(Bert(gelu, sliced=gelu == "none"))
    example = [torch.as_tensor(a[:2]) for a in tokens().values()]
    if dynamo:
        return exporting.current(module, example, dynamic_shapes=({0: torch.export.Dim("N")},) * 3)
    axes = exporting.batches(*NAMES)
    return exporting.classic(module, example, opset=14, input_names=NAMES, dynamic_axes=axes)


def require_exact(built: Built) -> None:
    require_same_function(Network(built.model), built.model, built.feeds)
    for seed in range(3):
        alive = random_mask(built.structures, seed)
        masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
        cut = outputs_of(slim(built.model, built.structures, alive), built.feeds)
        require_close(cut, outputs_of(masked, built.feeds), 1e-4, SurgeryDiverged)


@pytest.mark.parametrize(
    ("dynamo", "gelu", "fused"),
    [
        (False, "none", {"EmbedLayerNormalization", "Attention", "SkipLayerNormalization", "BiasGelu"}),
        (False, "tanh", {"Attention", "SkipLayerNormalization", "FastGelu"}),
        (True, "none", {"SkipLayerNormalization", "BiasGelu"}),
    ],
    ids=["classic", "classic-tanh", "current"],
)
def test_what_the_transformer_optimiser_writes(
    dynamo: bool, gelu: str, fused: set[str], tmp_path: Path
) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(exported(dynamo=dynamo, gelu=gelu))
    options = {"model_type": "bert", "num_heads": HEADS, "hidden_size": WIDTH, "opt_level": 0}
    optimize_model(str(path), **options).save_model_to_file(str(path))
    model = normalize(load_model(path))
    assert fused <= {node.op_type for node in model.graph if node.domain == "com.microsoft"}
    # The first normalisation, where it was not fused, is in a file of opset 14.
    assert model.opset_imports[""] == (20 if dynamo else 17 if gelu == "tanh" else 14)
    shapes = observe_shapes(model, tokens())
    structures = discover(model, shapes, ())
    # Heads and hidden units of both blocks, and what lies between the two last layers.
    assert sorted(len(g.members) for g in structures.groups) == [4, 4, 32, 96, 96]
    require_exact(Built(model=model, feeds=tokens(), shapes=shapes, structures=structures))


@pytest.mark.parametrize("family", ["resnet_a", "mobilenet_v3", "torch_encoder"])
def test_what_a_session_writes_at_the_extended_level(family: str, tmp_path: Path) -> None:
    export = next(e for e in EXPORTS if e.family.name == family)
    built, path = build_export(export), tmp_path / "optimised.onnx"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(serialize(built.model), options, providers=["CPUExecutionProvider"])
    optimised = prepare(path.read_bytes())
    assert any(node.domain == "com.microsoft" for node in optimised.model.graph)
    assert {len(g.members) for g in optimised.structures.groups} == {
        len(g.members) for g in built.structures.groups
    }
    require_exact(optimised)


def test_a_normalisation_that_the_standard_has_under_another_name() -> None:
    graph = """(float[N,6] x) => (float[N,4] y) <float[6,8] w1, float[8] g, float[8,5] w2, float[5,4] w3> {
        a = MatMul(x, w1)  b = SimplifiedLayerNormalization<epsilon=1e-3>(a, g)  c = MatMul(b, w2)
        d = Softmax<axis=1>(c)  y = MatMul(d, w3) }"""
    proto = as_model(graph, 12)
    before = run(open_session(proto.SerializeToString(), optimise=False), {"x": X})
    built = prepare(proto.SerializeToString())
    assert [n.op_type for n in built.model.graph if "Norm" in n.op_type] == ["RMSNormalization"]
    assert built.model.opset_imports[""] == 23
    require_close(outputs_of(built.model, {"x": X}), before, 1e-5, SurgeryDiverged)
    require_exact(built)
