from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sosp_core.config import Metric
from sosp_core.errors import DataMismatch, ModelError, ModelNotOnnx
from sosp_core.inspection import inspect
from tests.core.digits import INPUT, OUTPUT, digits_model, save_digits
from tests.oracles import counting
from tests.zoo.graphs import CASES, as_model, content_of


def test_a_model_is_described() -> None:
    found = inspect(digits_model())
    assert found.inputs == [f"{INPUT}: float32[N, 1, 8, 8]"]
    assert found.outputs == [f"{OUTPUT}: float32[N, 10]"]
    assert found.opset == 17
    assert [(g["structures"]) for g in found.groups] == [16, 24, 32]
    assert found.operators["Conv"] == 2
    assert found.refusals == found.blockers == []
    # Two convolutions of 9 taps on 8 x 8 and 4 x 4 pixels, two matrices.
    assert found.costs[Metric.MACS] == 64 * 9 * 16 + 16 * 9 * 16 * 24 + 96 * 32 + 320


def test_costs_are_those_counted_in_the_file() -> None:
    content = content_of(CASES["unet"])
    feeds = {"x": np.zeros((2, 3, 8, 8), np.float32)}
    counted = counting.multiply_accumulates(as_model(CASES["unet"].text, 17), feeds)
    assert inspect(content).costs[Metric.MACS] == counted


def test_everything_is_ready_for_json(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(digits_model())
    data = save_digits(tmp_path / "data.npz", count=5)
    told = inspect(tmp_path / "model.onnx", data).to_json()
    assert told["schema"] == "sosp.inspection/1"
    assert set(told["costs"]) == {"macs", "params", "size", "structures"}


def test_what_would_stop_a_job_is_listed_rather_than_raised() -> None:
    found = inspect(content_of(CASES["one_layer"]))
    assert [b.partition(":")[0] for b in found.blockers] == ["nothing_to_compress"]
    model = as_model(
        """(float[N,4] x) => (float[N,3] y) <float[4,5] w, float[5,3] v>
        { a = MatMul(x, w)  t = Tanh(a)  u = Bernoulli(t)  y = MatMul(u, v) }""",
        17,
    )
    assert inspect(model.SerializeToString()).blockers


def test_a_free_inner_dimension_needs_data(tmp_path: Path) -> None:
    text = """(float[N,3,H,8] x) => (float[N,2,H,8] y) <float[4,3,1,1] w, float[2,4,1,1] v>
    { a = Conv(x, w)  r = Relu(a)  y = Conv(r, v) }"""
    content = as_model(text, 17).SerializeToString()
    with pytest.raises(DataMismatch) as caught:
        inspect(content)
    assert caught.value.field == "x"
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 3, 5, 8), np.float32))
    assert inspect(content, tmp_path / "data.npz").costs[Metric.MACS] == 40 * (12 + 8)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_no_model_is_an_error(content: bytes) -> None:
    with pytest.raises(ModelNotOnnx):
        inspect(content)


def test_a_truncated_model_is_an_error() -> None:
    with pytest.raises(ModelError):
        inspect(digits_model()[:-100])
