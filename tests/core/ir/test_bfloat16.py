"""bfloat16 in, bfloat16 out: what is computed in float32 on the way loses nothing."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sosp_core.config import Budget, FinetuneConfig, Metric, PruneConfig, Recipe
from sosp_core.inspection import inspect
from sosp_core.ir.bfloat16 import narrow, widen
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.pipeline import compress
from sosp_core.runtime.session import to_proto
from tests.zoo.graphs import as_model

#: Types named by attributes, held by attributes, and told apart from float32 beside them.
MIXED = """(bfloat16[N,8] x, float[N,8] z) => (bfloat16[N,4] y, float[N,4] u)
<bfloat16[8,16] w, bfloat16[16] b, bfloat16[16,4] v, float[16,4] k>
{ h = Cast<to=16>(z)  s = Add(x, h)  p = MatMul(s, w)  q = Add(p, b)
  m = Shape(q)  f = ConstantOfShape<value = bfloat16[1] {2}>(m)  r = Mul(q, f)  t = Relu(r)
  y = MatMul(t, v)  c = Cast<to=1>(t)  u = MatMul(c, k) }"""
#: Three tensors of two bytes a number, one of four.
STORED_BYTES = 2 * (8 * 16 + 16 + 16 * 4) + 4 * 16 * 4


def mixed() -> onnx.ModelProto:
    model = as_model(MIXED.replace("<value = bfloat16[1] {2}>", ""), 20)
    (fill,) = (n for n in model.graph.node if n.op_type == "ConstantOfShape")
    two = numpy_helper.from_array(np.array([2], ml_dtypes.bfloat16), "two")
    fill.attribute.append(helper.make_attribute("value", two))
    return model


def test_there_and_back_again_nothing_has_changed() -> None:
    original = mixed()
    model = normalize(load_model(original.SerializeToString()))
    before = to_proto(model.clone())
    told = widen(model)
    wide = to_proto(model)
    assert TensorProto.BFLOAT16 not in {t.data_type for t in wide.graph.initializer}
    assert {p.type.tensor_type.elem_type for p in (*wide.graph.input, *wide.graph.output)} == {
        TensorProto.FLOAT
    }
    after = to_proto(narrow(model, told))
    assert after.graph.node == before.graph.node
    for a, b in zip(after.graph.initializer, before.graph.initializer, strict=True):
        assert (a.name, a.data_type) == (b.name, b.data_type)
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))
    ports = [[p.type for p in (*m.graph.input, *m.graph.output)] for m in (original, after)]
    assert ports[0] == ports[1]
    onnx.checker.check_model(after, full_check=True)


def test_a_float32_model_is_left_alone() -> None:
    model = as_model("(float[N,8] x) => (float[N,4] y) <float[8,4] w> { y = MatMul(x, w) }", 17)
    assert not widen(normalize(load_model(model.SerializeToString())))


def test_inspection_shows_the_types_of_the_file_and_its_bytes() -> None:
    found = inspect(mixed().SerializeToString())
    assert found.blockers == []
    assert found.inputs == ["x: bfloat16[N, 8]", "z: float32[N, 8]"]
    assert found.costs[Metric.SIZE] == STORED_BYTES


@pytest.mark.parametrize("steps", [0, 2])
def test_a_job_hands_out_the_types_it_was_given(steps: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = {"x": rng.standard_normal((32, 8)), "z": rng.standard_normal((32, 8))}
    np.savez(tmp_path / "data.npz", **{k: v.astype(np.float32) for k, v in samples.items()})
    original = mixed()
    recipe = Recipe(
        prune=PruneConfig(budget=Budget(metric=Metric.PARAMS, keep=0.5), compensate=steps > 0),
        finetune=FinetuneConfig(steps=steps),
    )
    outcome = compress(
        original.SerializeToString(), tmp_path / "data.npz", recipe, out_dir=tmp_path / "out", device="cpu"
    )
    slim = onnx.load(outcome.model)
    onnx.checker.check_model(slim, full_check=True)
    kinds = {t.name: t.data_type for t in original.graph.initializer}
    kept = {t.name: numpy_helper.to_array(t) for t in slim.graph.initializer if t.name in kinds}
    assert {t.name: t.data_type for t in slim.graph.initializer if t.name in kinds} == kinds
    assert [p.type for p in slim.graph.output] == [p.type for p in original.graph.output]
    assert kept["w"].shape[1] < 16
    if steps == 0:  # nothing was trained, so whole columns of the original remain, bit by bit
        whole = {t.name: numpy_helper.to_array(t) for t in original.graph.initializer}
        columns = {whole["w"][:, i].tobytes() for i in range(16)}
        assert all(kept["w"][:, i].tobytes() in columns for i in range(kept["w"].shape[1]))
    assert outcome.report.costs_before[Metric.SIZE] == STORED_BYTES
