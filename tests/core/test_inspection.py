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
    assert found.opset == found.opsets[""] == 17
    assert found.exporter.startswith("pytorch")
    assert found.parameters == found.costs[Metric.PARAMS]
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


def test_every_node_that_stops_a_job_is_listed_at_once() -> None:
    model = as_model(
        """(float[N,4] x) => (float[N,3] y) <float[4,5] w, float[5,3] v>
        { a = MatMul(x, w)  b = Bernoulli(a)  c = acme.Fold(b)  d = acme.Unfold(c)  y = MatMul(d, v) }""",
        17,
    )
    model.opset_import.add(domain="acme", version=1)
    for node in model.graph.node:
        if node.op_type.startswith("acme."):
            node.domain, node.op_type = node.op_type.split(".")
    found = inspect(model.SerializeToString())
    stops = [b for b in found.blockers if b.startswith("unsupported_op")]
    assert [("random" in b, "'acme'" in b) for b in stops] == [(True, False), (False, True), (False, True)]
    assert {(s.op_type, s.converter, s.channels) for s in found.support} == {
        ("MatMul", "own", "followed"),
        ("Bernoulli", "none", "frozen"),
        ("Fold", "none", "frozen"),
        ("Unfold", "none", "frozen"),
    }


def test_a_loop_is_never_run() -> None:
    text = """(float[N,4] x) => (float[N,4] y) <float[4,4] w>
    { n = Constant<value = int64 {1000000000000000}>()  t = Constant<value = bool {1}>()
      a = MatMul(x, w)
      y = Loop<body = each (int64 i, bool go, float[N,4] h) => (bool on, float[N,4] r)
        { on = Identity(go)  r = Relu(h) }>(n, t, a) }"""
    found = inspect(as_model(text, 17).SerializeToString())
    assert "known only at run time" in found.blockers[0]
    assert "was not run" in found.notes[0]
    assert found.costs == {}
    assert found.parameters == 16


def test_a_free_inner_dimension_needs_data(tmp_path: Path) -> None:
    text = """(float[N,3,H,8] x) => (float[N,2,H,8] y) <float[4,3,1,1] w, float[2,4,1,1] v>
    { a = Conv(x, w)  r = Relu(a)  y = Conv(r, v) }"""
    content = as_model(text, 17).SerializeToString()
    blind = inspect(content)
    assert blind.blockers == []
    assert "data array 'x'" in blind.notes[0]
    assert (blind.costs, blind.parameters) == ({}, 20)
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 3, 5, 8), np.float32))
    assert inspect(content, tmp_path / "data.npz").costs[Metric.MACS] == 40 * (12 + 8)


def test_data_that_do_not_fit_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=np.zeros((2, 3, 5, 8), np.float32))
    with pytest.raises(DataMismatch):
        inspect(digits_model(), tmp_path / "data.npz")


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_no_model_is_an_error(content: bytes) -> None:
    with pytest.raises(ModelNotOnnx):
        inspect(content)


def test_a_truncated_model_is_an_error() -> None:
    with pytest.raises(ModelError):
        inspect(digits_model()[:-100])
