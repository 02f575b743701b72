"""From a file and data to a slim file and a report, and every way in which that is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from sosp_core.config import COUNTED, Budget, FinetuneConfig, Method, Metric, Objective, PruneConfig, Recipe
from sosp_core.errors import (
    Cancelled,
    DataMismatch,
    DataNotFinite,
    DataUnreadable,
    DeviceAbsent,
    InputError,
    ModelInvalid,
    ModelNotOnnx,
    NothingToCompress,
    RecipeInvalid,
    TargetUnreachable,
    UnsupportedOps,
    WeightsNotFinite,
)
from sosp_core.pipeline import STAGES, Outcome, compress
from sosp_core.stages.subject import convert, load
from tests.core.digits import (
    HALF_THE_PARAMETERS,
    INPUT,
    OUTPUT,
    digits,
    digits_model,
    exported,
    recipe,
    save_digits,
    trained,
)
from tests.zoo.graphs import CASES, as_model, content_of


@dataclass
class Recorder:
    """Progress that remembers, and asks to stop when a stage begins."""

    stop_at: str = ""
    told: list[tuple[str, float]] = field(default_factory=list)

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        self.told.append((stage, done))

    def cancelled(self) -> bool:
        return bool(self.stop_at) and any(stage == self.stop_at for stage, _ in self.told)


@pytest.fixture(scope="module")
def progress() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def outcome(
    data: Path, evaluation: Path, progress: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """One job that every test of results looks at."""
    job = replace(recipe(), finetune=FinetuneConfig(epochs=4, batch_size=32, augment="none"))
    out = tmp_path_factory.mktemp("out") / "made" / "on demand"
    return compress(
        *(digits_model(), data, job), out_dir=out, evaluation=evaluation, progress=progress, device="cpu"
    )


@pytest.fixture(scope="module")
def report(outcome: Outcome) -> dict:
    return json.loads(outcome.report_json.read_text())


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_half_the_work_is_gone_and_the_answers_remain(outcome: Outcome, report: dict) -> None:
    assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    assert report["after"]["macs"] > 0.3 * report["before"]["macs"], "much more was cut than was asked for"
    x, y = (a[1200:1500] for a in digits())
    accuracy = float((answers(outcome.model.read_bytes(), x).argmax(1) == y).mean())
    assert report["after"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)  # float32 means
    assert report["before"]["accuracy"] > 0.9
    assert accuracy > report["before"]["accuracy"] - 0.05


def test_every_proof_holds_with_room(report: dict) -> None:
    assert set(report["checks"]) == {"conversion", "surgery", "write_back"}
    assert all(0 <= error < 1e-4 for error in report["checks"].values())


def test_the_slim_file_is_what_the_report_says(outcome: Outcome, report: dict) -> None:
    content = outcome.model.read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert report["after"]["file_bytes"] == len(content)
    assert report["before"]["file_bytes"] == len(digits_model())
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert report["after"]["params"] == sum(int(np.prod(t.dims)) for t in floats)
    assert [i.name for i in model.graph.input] == [INPUT]
    assert [o.name for o in model.graph.output] == [OUTPUT]
    assert answers(content, digits()[0][:5]).shape == (5, 10), "the batch is no longer dynamic"


def test_widths_add_up(outcome: Outcome, report: dict) -> None:
    plan = json.loads(outcome.plan.read_text())
    assert plan["schema"] == "sosp.plan/1"
    assert plan["after"]["macs"] == report["after"]["macs"]
    kept = sum(len(group["kept"]) for group in plan["groups"])
    assert kept == report["after"]["structures"]
    assert all(group["kept"] == sorted(set(group["kept"])) for group in plan["groups"])
    assert [layer["before"] for layer in report["layers"]] == [16, 24, 32]
    assert kept == sum(layer["after"] for layer in report["layers"])


def test_the_report_tells_everything(report: dict) -> None:
    assert report["schema"] == "sosp.report/1"
    assert report["judged_on"] == {"data": "evaluation", "samples": 300}
    assert set(report["timings_s"]) >= set(STAGES[:-1])
    assert report["versions"].keys() >= {"onnx", "onnxruntime", "torch"}
    assert report["recipe"]["prune"]["method"] == "recovery"
    assert report["refusals"] == []
    assert all(w.startswith(("slower", "busy")) for w in report["warnings"]), (
        "the clock may say so, nothing else"
    )
    assert 0 <= report["pruned_before_finetuning"]["accuracy"] <= report["after"]["accuracy"] + 0.02
    (latency,) = report["latency"]
    assert 0 < latency["speedup_low"] <= latency["speedup"] <= latency["speedup_high"]
    assert report["training"]["steps"] > 0
    assert report["training"]["points"][0]["step"] == 0


def test_stages_are_reported_in_order_and_completed(outcome: Outcome, progress: Recorder) -> None:
    assert outcome.model.exists()
    order = list(dict.fromkeys(stage for stage, _ in progress.told))
    assert tuple(order) == STAGES
    assert {stage for stage, done in progress.told if done == 1.0} == set(STAGES)
    assert all(0 <= done <= 1 for _, done in progress.told)


def test_the_page_stands_alone(outcome: Outcome) -> None:
    page = outcome.report_html.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    assert "<script" not in page
    assert page.count("<html") == 1


def test_the_same_seed_gives_the_same_file(data: Path, tmp_path: Path) -> None:
    one, two = (compress(digits_model(), data, recipe(), out_dir=tmp_path / n, device="cpu") for n in "ab")
    assert one.model.read_bytes() == two.model.read_bytes()
    assert one.plan.read_text() == two.plan.read_text()


@pytest.mark.parametrize("method", [m for m in Method if m is not Method.SOSP_SIGNED])
def test_every_method_meets_the_budget(method: Method, data: Path, tmp_path: Path) -> None:
    quick = replace(recipe(method=method), finetune=FinetuneConfig(steps=0))
    outcome = compress(digits_model(), data, quick, out_dir=tmp_path, device="cpu")
    assert outcome.report.costs_after[Metric.MACS] <= 0.5 * outcome.report.costs_before[Metric.MACS]
    assert outcome.report.training.steps == 0


@pytest.mark.parametrize("metric", COUNTED)
def test_every_metric_can_be_the_budget(metric: Metric, data: Path, tmp_path: Path) -> None:
    job = recipe(budget=Budget(metric=metric, keep=0.6), method=Method.MAGNITUDE, rounds=1)
    job = replace(job, finetune=FinetuneConfig(steps=0))
    costs = compress(digits_model(), data, job, out_dir=tmp_path, device="cpu").report
    assert costs.costs_after[metric] <= 0.6 * costs.costs_before[metric]


def test_a_protected_layer_keeps_its_width(data: Path, tmp_path: Path) -> None:
    job = replace(recipe(protect=("/0/Conv",)), finetune=FinetuneConfig(steps=0))
    report = compress(digits_model(), data, job, out_dir=tmp_path, device="cpu").report
    assert [(c.node, c.before) for c in report.layers] == [("/4/Conv", 24), ("/9/Gemm", 32)]
    assert any("/0/Conv" in r and "protected" in r for r in report.refusals)


def test_without_labels_the_original_is_the_teacher(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "plain.npz", labels=False)
    report = compress(digits_model(), data, recipe(), out_dir=tmp_path / "out", device="cpu").report
    assert report.quality_after.accuracy is None
    assert report.quality_before.fidelity == pytest.approx(1.0)
    assert report.quality_after.divergence <= report.quality_pruned.divergence
    assert report.judged_on == "held-out"


def test_distillation_ignores_labels_that_are_there(data: Path, tmp_path: Path) -> None:
    job = replace(recipe(), objective=Objective.DISTILL)
    report = compress(digits_model(), data, job, out_dir=tmp_path, device="cpu").report
    assert report.quality_after.accuracy is None


@pytest.mark.parametrize("objective", [Objective.AUTO, Objective.DISTILL])
def test_labels_of_the_evaluation_judge_what_was_learnt_without(
    objective: Objective, evaluation: Path, tmp_path: Path
) -> None:
    data = save_digits(tmp_path / "data.npz", count=200, labels=False)
    job = replace(recipe(), objective=objective, finetune=FinetuneConfig(steps=0))
    outcome = compress(digits_model(), data, job, out_dir=tmp_path / "o", evaluation=evaluation, device="cpu")
    with np.load(evaluation) as file:
        right = (answers(outcome.model.read_bytes(), file[INPUT]).argmax(1) == file["labels"]).mean()
    assert outcome.report.quality_after.accuracy == pytest.approx(right, abs=1e-6)


def test_labels_of_two_meanings_are_refused(evaluation: Path, tmp_path: Path) -> None:
    x, y = (a[:64] for a in digits())
    np.savez(tmp_path / "data.npz", **{INPUT: x, "labels": np.eye(10, dtype=np.float32)[y]})
    with pytest.raises(DataMismatch) as caught:
        compress(
            *(digits_model(), tmp_path / "data.npz", recipe()),
            out_dir=tmp_path / "o",
            evaluation=evaluation,
            device="cpu",
        )
    assert caught.value.expected == "labels for values, as those of the calibration data are"
    assert caught.value.got.endswith("for logits")


def test_inputs_may_be_true_or_false(tmp_path: Path) -> None:
    text = """(bool[N,6] x) => (float[N,4] y) <float[6,32] w0, float[32,4] w1>
        { f = Cast<to = 1>(x)  h = MatMul(f, w0)  a = Relu(h)  y = MatMul(a, w1) }"""
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).random((40, 6)) < 0.5)
    job = replace(recipe(), finetune=FinetuneConfig(steps=0))
    model = as_model(text, 17).SerializeToString()
    report = compress(model, tmp_path / "data.npz", job, out_dir=tmp_path / "o", device="cpu").report
    assert not any(w.startswith("calibration_degenerate") for w in report.warnings)


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "digits.npz", count=130)
    outcome = compress(exported(trained(), batch=8), data, recipe(), out_dir=tmp_path / "out", device="cpu")
    content = outcome.model.read_bytes()
    assert answers(content, digits()[0][:8]).shape == (8, 10)
    assert [c.batch_size for c in outcome.report.benchmark] == [8]
    assert outcome.report.samples_judged % 8 == 0


def test_probabilities_are_compared_as_such(data: Path, tmp_path: Path) -> None:
    model = exported(nn.Sequential(trained(), nn.Softmax(dim=1)).eval())
    outcome = compress(model, data, recipe(), out_dir=tmp_path, device="cpu")
    y = answers(outcome.model.read_bytes(), digits()[0][:20])
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    assert outcome.report.quality_before.accuracy is not None
    assert outcome.report.quality_before.accuracy > 0.9


def test_a_regression_is_judged_by_its_errors(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 2)
    )
    x = digits()[0][:300]
    with torch.no_grad():
        y = model(torch.as_tensor(x)).numpy()
    np.savez(tmp_path / "data.npz", **{INPUT: x, "labels": y + 0.01})
    job = recipe(**HALF_THE_PARAMETERS)
    report = compress(
        exported(model.eval()), tmp_path / "data.npz", job, out_dir=tmp_path / "o", device="cpu"
    ).report
    assert report.quality_before.accuracy is None
    assert report.quality_before.loss == pytest.approx(1e-4, rel=1e-2)
    assert report.quality_after.fidelity > 0.5


@pytest.mark.parametrize("stage", ["load", "discover", "score", "finetune", "benchmark"])
def test_a_job_stops_soon_after_it_is_asked_to(stage: str, data: Path, tmp_path: Path) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(Cancelled) as caught:
        compress(digits_model(), data, recipe(), out_dir=tmp_path / "out", progress=recorder, device="cpu")
    after = STAGES[STAGES.index(stage) : STAGES.index(stage) + 2]
    assert caught.value.stage in after
    assert not (tmp_path / "out").exists()


def test_names_from_the_model_are_escaped_in_the_page(data: Path, tmp_path: Path) -> None:
    model = onnx.load_from_string(digits_model())
    for node in model.graph.node:
        node.name = f"<script>alert('{node.name}')</script>"
    job = replace(recipe(method=Method.MAGNITUDE), finetune=FinetuneConfig(steps=0))
    outcome = compress(model.SerializeToString(), data, job, out_dir=tmp_path, device="cpu")
    page = outcome.report_html.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page


def test_identical_samples_are_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{INPUT: np.zeros((40, 1, 8, 8), np.float32)})
    job = replace(recipe(method=Method.MAGNITUDE), finetune=FinetuneConfig(steps=0))
    report = compress(digits_model(), tmp_path / "data.npz", job, out_dir=tmp_path / "o", device="cpu").report
    assert any(w.startswith("calibration_degenerate") for w in report.warnings)


VOLUMES = """(float[N,2,6,6,6] x) => (float[N,3,6,6,6] y)
<float[12,2,3,3,3] w, float[12] b, float[16,12,3,3,3] v, float[3,16,1,1,1] head>
{ p = Conv<pads=[1,1,1,1,1,1]>(x, w, b)  q = Relu(p)  r = Conv<pads=[1,1,1,1,1,1]>(q, v)
  s = Relu(r)  y = Conv(s, head) }"""
ANCHORS = """(float[N,3,6,6] x) => (float[N,2,6,6,3] y)
<float[12,3,3,3] w, float[12] b, float[6,12,1,1] head, float[1,2,6,6,3] anchors,
 int64[5] to = {-1, 2, 3, 6, 6}>
{ p = Conv<pads=[1,1,1,1]>(x, w, b)  q = Relu(p)  r = Conv(q, head)
  s = Reshape(r, to)  t = Transpose<perm=[0,1,3,4,2]>(s)  y = Mul(t, anchors) }"""


@pytest.mark.parametrize(
    ("text", "shape"), [(VOLUMES, (2, 6, 6, 6)), (ANCHORS, (3, 6, 6))], ids=["volumes", "anchors"]
)
def test_tensors_of_five_axes_are_scored_trained_and_written(
    text: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).standard_normal((40, *shape)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    model = as_model(text, 17).SerializeToString()
    made = compress(model, tmp_path / "data.npz", recipe(), out_dir=tmp_path / "o", device="cpu")
    assert made.report.training.steps == 8
    slim = ort.InferenceSession(made.model.read_bytes(), providers=["CPUExecutionProvider"])
    assert np.isfinite(slim.run(None, {"x": x})[0]).all()


@pytest.mark.parametrize("steps", [1, 2])
def test_one_sample_is_too_little_to_train_on_and_that_is_said(steps: int, tmp_path: Path) -> None:
    for count, told in ((1, True), (2, False)):
        np.savez(tmp_path / "data.npz", **{INPUT: digits()[0][:count]})
        job = replace(
            recipe(method=Method.MAGNITUDE, steps=steps),
            finetune=FinetuneConfig(epochs=None if told else 2.0, holdout=0.5, renormalise=False),
        )
        out = tmp_path / f"{count}"
        report = compress(digits_model(), tmp_path / "data.npz", job, out_dir=out, device="cpu").report
        assert (report.training.steps == 0) == told
        assert any(w.startswith("untrained") for w in report.warnings) == told


def test_a_fixed_batch_that_is_all_there_is_is_noted(tmp_path: Path) -> None:
    model = onnx.load_from_string(digits_model())
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 4
    np.savez(tmp_path / "data.npz", **{INPUT: digits()[0][:7]})
    job = recipe(method=Method.MAGNITUDE)
    for number, tuned in enumerate((job.finetune, FinetuneConfig(steps=0))):
        report = compress(
            *(model.SerializeToString(), tmp_path / "data.npz", replace(job, finetune=tuned)),
            out_dir=tmp_path / f"{number}",
            device="cpu",
        ).report
        assert report.training.steps == 0
        told = [w for w in report.warnings if w.startswith("untrained")]
        expected = "no batch is left beside the one held out: it takes 8 samples, and 4 can be used"
        assert told == [f"untrained: {expected}"][number:]


TWO_IMAGES = """(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,8,8] y)
<float[12,3,3,3] w, float[12,3,3,3] v, float[4,12,1,1] head>
{ p = Conv<pads=[1,1,1,1]>(x, w)  q = Conv<pads=[1,1,1,1]>(z, v)
  s = Add(p, q)  r = Relu(s)  y = Conv(r, head) }"""


@pytest.mark.parametrize("field", ["prune.augment", "finetune.augment"])
def test_views_of_one_image_of_several_are_refused(field: str, tmp_path: Path) -> None:
    job, (part, _) = recipe(method=Method.MAGNITUDE), field.split(".")
    job = replace(job, **{part: replace(getattr(job, part), augment="flip")})
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    error = refused(tmp_path, job, as_model(TWO_IMAGES, 17).SerializeToString(), x=x, z=x)
    assert isinstance(error, RecipeInvalid)
    assert error.field == field


PLACES = """(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[6,3,3,3] w, float[4,6,1,1] head>
{ p = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(p)  y = Conv(r, head) }"""


def test_scores_read_labels_of_places_without_views(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    model = as_model(PLACES, 17).SerializeToString()
    for labels, viewed in ((np.zeros((40, 8, 8), np.int64), False), (None, True)):
        np.savez(tmp_path / "data.npz", x=x, **({} if labels is None else {"labels": labels}))
        subject = convert(load(model, tmp_path / "data.npz", None, recipe(samples=40)))
        assert np.array_equal(subject.samples().inputs["x"], x) == (not viewed)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b'{"graph": 1}'],
    ids=["empty", "text", "png", "json"],
)
def test_bytes_that_are_no_model_are_refused(content: bytes, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotOnnx):
        compress(content, data, recipe(), out_dir=tmp_path / "out", device="cpu")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_model_is_refused(share: float, data: Path, tmp_path: Path) -> None:
    content = digits_model()
    with pytest.raises((ModelNotOnnx, ModelInvalid)):
        compress(content[: int(len(content) * share)], data, recipe(), out_dir=tmp_path / "out", device="cpu")


def refused(
    tmp_path: Path,
    job: Recipe | None = None,
    model: bytes | None = None,
    **arrays: np.ndarray,
) -> InputError:
    path = tmp_path / "data.npz"
    np.savez(path, **(arrays or {INPUT: digits()[0][:64]}))
    with pytest.raises(InputError) as caught:
        compress(model or digits_model(), path, job or recipe(), out_dir=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists(), "a refused job left files behind"
    return caught.value


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, pictures=digits()[0][:64])
    assert isinstance(error, DataMismatch)
    assert (error.field, error.got) == (INPUT, "no such array (present: pictures)")


def test_values_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    x = digits()[0][:64].copy()
    x[3, 0, 1, 1:4] = [np.nan, np.inf, -np.inf]
    error = refused(tmp_path, **{INPUT: x})
    assert isinstance(error, DataNotFinite)
    assert (error.field, error.count) == (INPUT, 3)


def test_data_of_no_known_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2,3\n" * 20)
    with pytest.raises(DataUnreadable):
        compress(digits_model(), tmp_path / "data.csv", recipe(), out_dir=tmp_path / "out", device="cpu")


def test_a_budget_out_of_reach_says_what_is_in_reach(tmp_path: Path) -> None:
    job = recipe(budget=Budget(keep=0.01), max_layer_ratio=0.5)
    error = refused(tmp_path, job)
    assert isinstance(error, TargetUnreachable)
    assert error.metric == "macs"
    assert error.asked < error.reachable
    reached = compress(
        *(digits_model(), tmp_path / "data.npz"),
        replace(recipe(budget=Budget(at_most=error.reachable), max_layer_ratio=0.5, method=Method.MAGNITUDE)),
        out_dir=tmp_path / "again",
        device="cpu",
    )
    assert reached.report.costs_after[Metric.MACS] == error.reachable


def test_a_budget_that_asks_for_nothing_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, recipe(budget=Budget(at_most=10**9)))
    assert isinstance(error, RecipeInvalid)
    assert error.field == "prune.budget.at_most"


def test_with_everything_protected_nothing_is_left(tmp_path: Path) -> None:
    error = refused(tmp_path, recipe(protect=("*",)))
    assert isinstance(error, NothingToCompress)
    assert all("protected" in refusal for refusal in error.refusals)
    assert error.refusals


def test_a_single_layer_has_nothing_to_give(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)
    error = refused(tmp_path, model=content_of(CASES["one_layer"]), x=x)
    assert isinstance(error, NothingToCompress)


def test_operators_that_cannot_be_differentiated_are_all_named(tmp_path: Path) -> None:
    model = as_model(
        """(float[N,1,8,8] image) => (float[N,4,8,8] y)
        <float[4,1,1,1] w, float[4,4,1,1] v>
        { p = Conv(image, w)  m = RandomNormalLike(p)  q = Conv(m, v)  y = Bernoulli(q) }""",
        17,
    )
    error = refused(tmp_path, model=model.SerializeToString())
    assert isinstance(error, UnsupportedOps)
    assert all(any(name in node for node in error.nodes) for name in ("RandomNormalLike", "Bernoulli"))


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    model = onnx.load_from_string(content_of(CASES["conv_chain"]))
    weight = next(t for t in model.graph.initializer if t.name == "w2")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0, 0, 0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    x = np.zeros((20, 3, 8, 8), np.float32)
    error = refused(tmp_path, model=model.SerializeToString(), x=x)
    assert isinstance(error, WeightsNotFinite)
    assert error.initializer == "w2"


@pytest.mark.parametrize(
    ("labels", "job", "expected"),
    [
        (np.full(64, 10), None, "classes 0..10"),
        (np.full(64, -1), None, "classes 0..10"),
        (np.zeros(63, np.int64), None, "64 samples"),
        (np.zeros(64, np.float32), Objective.CROSS_ENTROPY, "integer classes"),
        (np.zeros((64, 3), np.float32), Objective.MSE, "shaped as the output"),
    ],
    ids=["too_high", "negative", "too_few", "float", "another_width"],
)
def test_labels_that_do_not_fit_are_refused(
    labels: np.ndarray, job: Objective | None, expected: str, tmp_path: Path
) -> None:
    wanted = replace(recipe(), objective=job or Objective.AUTO)
    error = refused(tmp_path, wanted, **{INPUT: digits()[0][:64], "labels": labels})
    assert isinstance(error, DataMismatch)
    assert error.field == "labels"
    assert expected in error.expected


@pytest.mark.parametrize("objective", [Objective.CROSS_ENTROPY, Objective.BCE, Objective.MSE])
def test_an_objective_that_needs_labels_says_so(objective: Objective, tmp_path: Path) -> None:
    error = refused(tmp_path, replace(recipe(), objective=objective))
    assert isinstance(error, DataMismatch)
    assert (error.field, error.got) == ("labels", "nothing")


def test_a_fixed_batch_needs_that_many_samples(tmp_path: Path) -> None:
    error = refused(tmp_path, model=exported(trained(), batch=8), **{INPUT: digits()[0][:7]})
    assert isinstance(error, DataMismatch)
    assert (error.field, error.got) == (INPUT, "7")


@pytest.mark.parametrize("name", ["tpu", "cpu:x", "cpu,tpu", "cpu,", ""])
def test_an_unknown_device_is_refused(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        compress(digits_model(), data, recipe(), out_dir=tmp_path, device=name)
    assert caught.value.field == "device"


def test_an_absent_device_is_the_machines_fault(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceAbsent) as caught:
        compress(digits_model(), data, recipe(), out_dir=tmp_path, device="cuda:99")
    assert caught.value.device == "cuda:99"


def test_one_sample_is_enough_to_prune_but_not_to_train(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{INPUT: digits()[0][:1]})
    report = compress(
        digits_model(), tmp_path / "data.npz", recipe(), out_dir=tmp_path / "o", device="cpu"
    ).report
    assert report.training.steps == 0
    assert report.costs_after[Metric.MACS] <= 0.5 * report.costs_before[Metric.MACS]


def builders() -> list[Callable[[], object]]:
    return [
        lambda: Budget(keep=0.5, at_most=3),
        lambda: Budget(keep=0.0),
        lambda: Budget(keep=1.0),
        lambda: Budget(at_most=0),
        lambda: PruneConfig(rounds=0),
        lambda: PruneConfig(round_to=0),
        lambda: PruneConfig(max_layer_ratio=0.0),
        lambda: PruneConfig(samples=0),
        lambda: FinetuneConfig(steps=-1),
        lambda: FinetuneConfig(lr=0.0),
        lambda: FinetuneConfig(augment="flip+spin"),
        lambda: FinetuneConfig(holdout=0.9),
        lambda: Recipe(seed=-1),
    ]


@pytest.mark.parametrize("build", builders())
def test_a_recipe_that_makes_no_sense_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|not both|augment is"):
        build()
