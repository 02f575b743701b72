"""Models that one file cannot hold: with the limit lowered, nothing on the way may need one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from sosp_core.config import Budget, FinetuneConfig, Metric, PruneConfig, Recipe
from sosp_core.errors import ModelTooLarge
from sosp_core.ir.load import load_model
from sosp_core.pipeline import compress
from sosp_core.runtime.session import serialize
from sosp_core.stages.cut import Cut
from sosp_core.stages.resume import CUT
from tests.zoo.graphs import as_model

WIDE = """(float[N,16] x) => (float[N,4] y) <float[16,96] w, float[96] b, float[96,64] v, float[64,4] u>
{ p = MatMul(x, w)  q = Add(p, b)  r = Relu(q)  s = MatMul(r, v)  t = Relu(s)  y = MatMul(t, u) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with its weights beside it."""
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    proto = as_model(WIDE, 17)
    onnx.save_model(proto, str(path), save_as_external_data=True, location="weights", size_threshold=256)
    return path


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sosp_core.ir.save.ONE_FILE_BELOW", 4096)


@pytest.mark.usefixtures("small_files")
def test_a_large_model_goes_in_and_comes_out_in_two_files(model: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    recipe = Recipe(
        prune=PruneConfig(budget=Budget(metric=Metric.PARAMS, keep=0.5)), finetune=FinetuneConfig(steps=2)
    )
    outcome = compress(model, tmp_path / "data.npz", recipe, out_dir=tmp_path / "out", device="cpu")
    (weights,) = outcome.weights
    assert weights.name == "model.onnx.data"
    assert {outcome.model, weights} <= set(outcome.files)
    assert outcome.model.stat().st_size < 4096 < weights.stat().st_size
    assert outcome.report.file_after >= weights.stat().st_size // 2
    whole = onnx.load(outcome.model)
    onnx.checker.check_model(whole, full_check=True)
    elements = sum(int(np.prod(t.dims)) for t in whole.graph.initializer)
    assert elements <= 0.5 * (16 * 96 + 96 + 96 * 64 + 64 * 4)
    session = ort.InferenceSession(str(outcome.model), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    assert y.shape == (64, 4)
    assert np.isfinite(y).all()


@pytest.mark.usefixtures("small_files")
def test_a_checkpoint_holds_what_no_message_can(model: Path, tmp_path: Path) -> None:
    before = load_model(model)
    with pytest.raises(ModelTooLarge):
        serialize(before)
    with (tmp_path / "kept").open("wb") as file:
        CUT.write(Cut(before, 0.25), file)
    after = CUT.read((tmp_path / "kept").read_bytes())
    assert after.error == 0.25
    for name, value in before.graph.initializers.items():
        restored = after.model.graph.initializers[name]
        assert restored.const_value is not None
        assert value.const_value is not None
        np.testing.assert_array_equal(restored.const_value.numpy(), value.const_value.numpy())
