"""Modes ``bottlenecks`` and ``expand-prune`` from a file to a report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from sosp_core.config import Budget, ExpandConfig, FinetuneConfig, LayerLimits, Metric, Mode, Recipe
from sosp_core.errors import Cancelled, NoBottleneck, NothingToWiden, RecipeInvalid, TargetUnreachable
from sosp_core.pipeline import STAGES, Outcome, compress
from sosp_core.report.schema import report_schema
from tests.core.digits import INPUT, digits, digits_model, recipe, save_digits
from tests.core.narrow import NARROW, SEEN, narrow_model
from tests.core.report.test_schema import strict
from tests.core.test_gradual import Listener
from tests.core.test_pipeline import Recorder
from tests.zoo.graphs import CASES, content_of


def job(mode: Mode, **expand: float | bool) -> Recipe:
    tuned = FinetuneConfig(steps=20, batch_size=32, augment="none")
    return replace(recipe(rounds=2, samples=64), mode=mode, expand=ExpandConfig(**expand), finetune=tuned)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_digits(tmp_path_factory.mktemp("data") / "test.npz", first=SEEN, count=300)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def widened(
    data: Path, evaluation: Path, recorder: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    out = tmp_path_factory.mktemp("widened")
    order = job(Mode.BOTTLENECKS, factor=4.0)
    return compress(
        *(narrow_model(epochs=5), data, order),
        out_dir=out,
        evaluation=evaluation,
        progress=recorder,
        device="cpu",
    )


@pytest.fixture(scope="module")
def facts(widened: Outcome) -> dict:
    return json.loads(widened.report_json.read_text())


def accuracy(model: Path) -> float:
    session = ort.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
    x, y = (a[SEEN : SEEN + 300] for a in digits())
    return float((session.run(None, {INPUT: x})[0].argmax(1) == y).mean())


def test_the_narrow_layer_is_found(facts: dict) -> None:
    groups = {g["name"]: g for g in facts["expansion"]["diagnosis"]["groups"]}
    assert groups[NARROW]["bottleneck"]
    assert groups[NARROW]["structures"] == 2
    assert not all(g["bottleneck"] for g in groups.values())
    share = facts["expansion"]["diagnosis"]["share"]
    assert share == pytest.approx(0.5, abs=0.02), "the share of the budget, counted in structures"


def test_bottlenecks_alone_have_grown(widened: Outcome, facts: dict) -> None:
    narrow = {g["name"] for g in facts["expansion"]["diagnosis"]["groups"] if g["bottleneck"]}
    for layer in facts["layers"]:
        factor = 4 if layer["node"] in narrow else 1
        assert layer["after"] == factor * layer["before"], layer
    model = onnx.load_from_string(widened.model.read_bytes())
    onnx.checker.check_model(model, full_check=True)
    weights = sum(int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type == 1)
    assert facts["after"]["params"] == weights > facts["before"]["params"]
    assert facts["after"]["accuracy"] == pytest.approx(accuracy(widened.model), abs=1e-6)


def test_before_training_nothing_had_changed(facts: dict) -> None:
    assert facts["checks"]["surgery"] < 1e-5
    assert facts["pruned_before_finetuning"]["accuracy"] == facts["before"]["accuracy"]
    assert facts["pruned_before_finetuning"]["divergence"] == pytest.approx(0, abs=1e-5)
    assert all(v["difference_before_training"] < 1e-5 for v in facts["expansion"]["variants"])


def test_the_rival_has_as_many_parameters_and_the_same_training(facts: dict) -> None:
    ours, rival = facts["expansion"]["variants"]
    assert (ours["name"], rival["name"]) == ("bottlenecks", "uniform")
    assert 0.97 * ours["params"] < rival["params"] <= ours["params"]
    assert rival["training"]["steps"] == ours["training"]["steps"] == 20
    grown = [layer["after"] / layer["before"] for layer in rival["layers"]]
    assert all(factor >= 1 for factor in grown)
    assert rival["accuracy"] is not None
    assert rival["latency"]
    assert any(name.startswith("Accuracy, all layers") for name, *_ in facts["summary"])


def test_the_document_follows_the_published_schema(facts: dict) -> None:
    jsonschema_rs.validator_for(strict(report_schema())).validate(facts)


def test_the_plan_says_what_was_added(widened: Outcome, facts: dict) -> None:
    plan = json.loads(widened.plan.read_text())
    added = {g["name"]: g["added"] for g in plan["groups"]}
    assert added[NARROW] == 6
    assert plan["after"]["params"] == facts["after"]["params"]


def test_the_page_marks_the_bottleneck_without_a_script(widened: Outcome, facts: dict) -> None:
    page = widened.report_html.read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    section = page[page.index('<section id="expansion">') :]
    chart = section[section.index("<svg") : section.index("</svg>")]
    assert NARROW in chart
    assert f"{NARROW}: 50 → 0 (bottleneck)" in chart
    assert chart.count("◆") == sum(g["bottleneck"] for g in facts["expansion"]["diagnosis"]["groups"])
    assert "All layers wider alike" in section


def test_progress_goes_one_way(recorder: Recorder, widened: Outcome) -> None:
    assert widened.model.exists()
    order = [(STAGES.index(stage), done) for stage, done in recorder.told]
    assert order == sorted(order)
    assert {stage for stage, _ in recorder.told} == set(STAGES)


def test_expanded_and_pruned_back_meets_the_budget_of_the_original(
    data: Path, evaluation: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    order = job(Mode.EXPAND_PRUNE, factor=4.0)
    outcome = compress(
        *(narrow_model(epochs=5), data, order),
        out_dir=tmp_path,
        evaluation=evaluation,
        progress=recorder,
        device="cpu",
    )
    facts = json.loads(outcome.report_json.read_text())
    (expanded,) = facts["expansion"]["variants"]
    assert facts["after"]["macs"] <= 0.5 * facts["before"]["macs"] < expanded["macs"]
    assert {layer["node"]: layer["before"] for layer in facts["layers"]}[NARROW] == 2
    assert {layer["node"]: layer["after"] for layer in expanded["layers"]}[NARROW] == 8
    assert facts["after"]["accuracy"] == pytest.approx(accuracy(outcome.model), abs=1e-6)
    assert facts["expansion"]["diagnosis"]["groups"]
    order_seen = [(STAGES.index(stage), done) for stage, done in recorder.told]
    assert order_seen == sorted(order_seen)
    assert "Pruned back" in outcome.report_html.read_text(encoding="utf-8")


def test_a_budget_out_of_reach_is_refused_before_the_wide_network_is_trained(
    data: Path, tmp_path: Path
) -> None:
    """What is within reach of the original need not be of a network sixteen times as wide."""
    listener = Listener()
    order = job(Mode.EXPAND_PRUNE, factor=16.0, threshold=1.0)
    order = replace(order, prune=replace(order.prune, budget=Budget(keep=0.2)))
    with pytest.raises(TargetUnreachable):
        compress(
            *(narrow_model(epochs=5), data, order), out_dir=tmp_path / "o", progress=listener, device="cpu"
        )
    assert any(message.startswith("bottlenecks") for _, message in listener.messages)
    assert not any(message.startswith("widened network") for _, message in listener.messages)


@pytest.mark.parametrize("limits", [LayerLimits(exact=1.0), LayerLimits(max_keep=2)])
def test_a_layer_with_limits_is_neither_blamed_nor_widened(
    limits: LayerLimits, data: Path, tmp_path: Path
) -> None:
    order = job(Mode.BOTTLENECKS, threshold=1.0)
    order = replace(order, prune=replace(order.prune, layers={NARROW: limits}))
    report = compress(narrow_model(epochs=5), data, order, out_dir=tmp_path, device="cpu").report
    assert report.expansion is not None
    assert NARROW not in {g.name for g in report.expansion.diagnosis.groups}
    assert len(report.expansion.variants) == 2
    for variant in report.expansion.variants:
        widths = {layer.node: (layer.before, layer.after) for layer in variant.layers}
        assert widths[NARROW] == (2, 2)
        assert any(after > before for before, after in widths.values())
    assert [(m.pattern, m.limits, m.nodes) for m in report.limits] == [(NARROW, limits, (NARROW,))]


def test_limits_hold_through_widening_and_pruning_back(data: Path, tmp_path: Path) -> None:
    order = job(Mode.EXPAND_PRUNE, threshold=1.0)
    limits = {"/0/Conv": LayerLimits(min_keep=0.75), "/7/Conv": LayerLimits(exact=9)}
    order = replace(order, prune=replace(order.prune, layers=limits))
    report = compress(narrow_model(epochs=5), data, order, out_dir=tmp_path, device="cpu").report
    widths = {layer.node: (layer.before, layer.after) for layer in report.layers}
    assert widths["/0/Conv"][0] == 16
    assert 12 <= widths["/0/Conv"][1] <= 16
    assert widths["/7/Conv"] == (24, 9)
    assert [m.pattern for m in report.limits] == [*limits]


def test_where_every_layer_has_limits_none_can_be_a_bottleneck(data: Path, tmp_path: Path) -> None:
    order = job(Mode.BOTTLENECKS)
    limits = {"*": LayerLimits(min_keep=1)}
    order = replace(order, prune=replace(order.prune, layers=limits))
    with pytest.raises(RecipeInvalid, match="how wide every layer may be") as caught:
        compress(narrow_model(epochs=5), data, order, out_dir=tmp_path / "o", device="cpu")
    assert caught.value.field == "prune.layers"


def test_where_limits_alone_decide_what_goes_nothing_is_learnt_of_the_others(
    data: Path, tmp_path: Path
) -> None:
    order = job(Mode.BOTTLENECKS)
    prune = replace(order.prune, layers={"/12/Gemm": LayerLimits(max_keep=0.1)}, budget=Budget(keep=0.9))
    with pytest.raises(NoBottleneck, match="no layer without limits was expected to lose anything"):
        compress(
            *(narrow_model(epochs=5), data, replace(order, prune=prune)), out_dir=tmp_path / "o", device="cpu"
        )


def test_without_labels_the_report_says_what_that_means(tmp_path: Path) -> None:
    plain = save_digits(tmp_path / "plain.npz", labels=False)
    order = job(Mode.BOTTLENECKS, baseline=False)
    report = compress(narrow_model(epochs=5), plain, order, out_dir=tmp_path / "out", device="cpu").report
    assert any(w.startswith("unlabelled") and "not surpass" in w for w in report.warnings)
    assert report.expansion is not None
    assert not report.expansion.labelled
    assert [v.name for v in report.expansion.variants] == ["bottlenecks"]


def test_a_network_without_a_bottleneck_says_so(data: Path, tmp_path: Path) -> None:
    order = job(Mode.BOTTLENECKS, threshold=0.01)
    with pytest.raises(NoBottleneck) as caught:
        compress(digits_model(), data, order, out_dir=tmp_path / "out", device="cpu")
    assert "/0/Conv" in str(caught.value)
    assert caught.value.threshold == 0.01
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_widened_exactly_is_refused_by_name(tmp_path: Path) -> None:
    """Channels that are added up as they are: silent only if an answer to zero is zero."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((40, 3, 8, 8)).astype(np.float32))
    order = job(Mode.BOTTLENECKS, threshold=1.0)
    order = replace(order, prune=replace(order.prune, budget=Budget(keep=0.8)))
    with pytest.raises(NothingToWiden) as caught:
        compress(content_of(CASES["sum_over_channels"]), tmp_path / "data.npz", order, out_dir=tmp_path / "o")
    assert "changes the outputs before any training" in str(caught.value)


def test_it_stops_between_two_networks(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        compress(
            *(narrow_model(epochs=5), data, job(Mode.BOTTLENECKS)),
            out_dir=tmp_path / "out",
            progress=Recorder(stop_at="finetune"),
            device="cpu",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"factor": 1.0}, {"factor": 17.0}, {"threshold": 0.0}, {"threshold": 1.5}, {"distill": -0.1}]
)
def test_an_expansion_that_makes_no_sense_cannot_be_built(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must lie in"):
        ExpandConfig(**wrong)


def test_a_budget_is_the_originals_whatever_it_counts(data: Path, tmp_path: Path) -> None:
    order = job(Mode.EXPAND_PRUNE, factor=3.0)
    budget = Budget(metric=Metric.PARAMS, keep=0.7)
    order = replace(
        order, prune=replace(order.prune, budget=budget), finetune=replace(order.finetune, steps=0)
    )
    report = compress(narrow_model(epochs=5), data, order, out_dir=tmp_path, device="cpu").report
    assert report.costs_after[Metric.PARAMS] <= 0.7 * report.costs_before[Metric.PARAMS]


def test_a_budget_of_milliseconds_is_the_originals_too(data: Path, tmp_path: Path) -> None:
    order = job(Mode.EXPAND_PRUNE, factor=3.0)
    order = replace(
        order,
        prune=replace(order.prune, budget=Budget(metric=Metric.LATENCY, keep=0.9), round_to=4),
        finetune=replace(order.finetune, steps=0),
        benchmark=replace(order.benchmark, batch_sizes=(256,), min_time_s=0.2, max_time_s=1.0),
    )
    report = compress(narrow_model(epochs=5), data, order, out_dir=tmp_path, device="cpu").report
    (expanded,) = report.expansion.variants if report.expansion else ()
    assert report.costs_after[Metric.MACS] < expanded.costs[Metric.MACS]
