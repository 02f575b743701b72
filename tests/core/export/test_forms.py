"""Further forms of a slim model: what the files hold, and that the report tells the truth about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from torch import nn

from sosp_core.config import ExportConfig, Quantization
from sosp_core.errors import UnsupportedModel
from sosp_core.export import survive
from sosp_core.export.result import Exported
from sosp_core.export.survive import require_survivable
from sosp_core.pipeline import Outcome, compress
from tests.core.digits import INPUT, digits, digits_model, exported, recipe, save_digits

FORMS = [ExportConfig(int8=Quantization.STATIC, fp16=True), ExportConfig(int8=Quantization.DYNAMIC)]
FIRST, COUNT = 1200, 200


@pytest.fixture(scope="module", params=FORMS, ids=["static and fp16", "dynamic"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    place = tmp_path_factory.mktemp("forms")
    data, judged = place / "data.npz", place / "test.npz"
    save_digits(data, count=200)
    save_digits(judged, first=FIRST, count=COUNT)
    asked = replace(recipe(method="magnitude"), export=request.param)
    return compress(digits_model(), data, asked, out_dir=place / "out", evaluation=judged, device="cpu")


def forms(outcome: Outcome) -> dict[str, tuple[Path, Exported]]:
    results = {form.name: form for form in outcome.report.exports}
    return {path.name: (path, results[path.name]) for path in outcome.exports}


def stored(path: Path) -> set[str]:
    """The types in which matrices and kernels are stored."""
    tensors = onnx.load(path).graph.initializer
    return {onnx.TensorProto.DataType.Name(t.data_type) for t in tensors if len(t.dims) > 1}


def test_every_form_that_was_asked_for_is_there_and_none_was_refused(outcome: Outcome) -> None:
    asked = outcome.report.recipe["export"]
    names = ["model.int8.onnx"] + (["model.fp16.onnx"] if asked["fp16"] else [])
    assert [path.name for path in outcome.exports] == names
    assert not [w for w in outcome.report.warnings if w.startswith("export_failed")]


def test_a_form_holds_its_type_and_is_measured_by_the_bytes_it_has(outcome: Outcome) -> None:
    for name, (path, result) in forms(outcome).items():
        assert result.file_bytes == path.stat().st_size < outcome.report.file_after
        assert ("INT8" if "int8" in name else "FLOAT16") in stored(path)
        onnx.checker.check_model(onnx.load(path), full_check=True)


def test_the_quality_of_a_form_is_what_onnxruntime_says(outcome: Outcome) -> None:
    x, y = (a[FIRST : FIRST + COUNT] for a in digits())
    for path, result in forms(outcome).values():
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (answers,) = session.run(None, {INPUT: x})
        assert answers.dtype == np.float32
        right = float((answers.argmax(1) == y).mean())
        # Rounding in float16 and eight bits may depend on the size of the batch: one sample of 200.
        assert result.quality.accuracy == pytest.approx(right, abs=0.0051)
        assert result.quality.accuracy > 0.6, "much of what the slim model knows is gone"


def test_a_form_is_timed_against_the_original_and_told_in_the_table_and_the_page(outcome: Outcome) -> None:
    page = outcome.report_html.read_text("utf-8")
    for name, (_, result) in forms(outcome).items():
        assert len(result.benchmark) == len(outcome.report.benchmark)
        assert [row for row in outcome.report.rows() if f"({result.kind})" in row[0]]
        assert name in page


def test_a_form_that_cannot_be_made_is_a_warning_and_costs_nothing_else(tmp_path: Path) -> None:
    convolutions = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1))
    data = save_digits(tmp_path / "data.npz", count=64, labels=False)
    asked = replace(recipe(method="magnitude"), export=ExportConfig(int8=Quantization.DYNAMIC, fp16=True))
    made = compress(exported(convolutions.eval()), data, asked, out_dir=tmp_path / "out", device="cpu")
    assert [path.name for path in made.exports] == ["model.fp16.onnx"]
    (warning,) = (w for w in made.report.warnings if w.startswith("export_failed"))
    assert "model.int8.onnx" in warning
    assert "none of its operators" in warning
    assert not (tmp_path / "out" / "model.int8.onnx").exists()


def test_what_onnx_runtime_dies_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_survivable(digits_model())
    require_survivable(b"no model")  # an error, which the checks tell better
    monkeypatch.setattr(survive, "LOAD", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UnsupportedModel, match="SIGSEGV"):
        require_survivable(digits_model())
