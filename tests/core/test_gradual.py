"""Several cuts on the way to the budget: one job, one original, one budget."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from sosp_core.checkpoints import CheckpointFolder
from sosp_core.config import (
    COUNTED,
    Budget,
    ExpandConfig,
    FinetuneConfig,
    LayerLimits,
    Method,
    Metric,
    Mode,
    PruneConfig,
    Recipe,
)
from sosp_core.errors import Cancelled
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.modes.part import EARLIER
from sosp_core.pipeline import STAGES, Outcome, compress
from sosp_core.report.schema import report_schema
from sosp_core.runtime.session import serialize
from sosp_core.structures.structures import Structures
from sosp_core.surgery.apply import slim
from tests.core.digits import digits, digits_model, exported, network, recipe, save_digits, trained
from tests.core.report.test_schema import strict
from tests.core.test_pipeline import Recorder, answers
from tests.zoo.built import prepare

STEPS = 3


def job(*, steps: int = STEPS, training: int = 12, between: float = 0.5, **prune: object) -> Recipe:
    tuned = FinetuneConfig(steps=training, batch_size=32, augment="none", between=between)
    return replace(recipe(steps=steps, **prune), finetune=tuned)


def run(asked: Recipe, data: Path, out: Path, model: bytes | None = None, **more: Any) -> Outcome:
    return compress(model or digits_model(), data, asked, out_dir=out, device="cpu", **more)


@dataclass
class Listener(Recorder):
    """Progress that remembers the messages, too, and asks to stop once one begins as it was told to."""

    stop_when: str = ""
    messages: list[tuple[str, str]] = field(default_factory=list)

    def report(self, stage: str, done: float, message: str = "", **more: Any) -> None:
        super().report(stage, done, message, **more)
        self.messages.append((stage, message))

    def cancelled(self) -> bool:
        return bool(self.stop_when) and any(m.startswith(self.stop_when) for _, m in self.messages)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def outcome(
    data: Path, evaluation: Path, listener: Listener, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    out = tmp_path_factory.mktemp("out")
    return run(job(training=60), data, out, evaluation=evaluation, progress=listener)


@pytest.fixture(scope="module")
def report(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.report_json.read_text())
    return found


def kept_of(plan: Path, structures: Structures) -> np.ndarray:
    """The mask over the original's structures that a plan file stands for."""
    alive = ~structures.all_alive()
    for told, group in zip(json.loads(plan.read_text())["groups"], structures.groups, strict=True):
        assert told["structures"] == len(group.members)
        alive[group.members[told["kept"]]] = True
    return alive


def shapes(content: bytes) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(t.dims) for t in onnx.load_from_string(content).graph.initializer}


def test_the_plan_is_about_the_original_and_the_file_is_what_it_says(outcome: Outcome) -> None:
    built = prepare(digits_model())
    alive = kept_of(outcome.plan, built.structures)
    directly = serialize(slim(built.model, built.structures, alive))
    assert shapes(outcome.model.read_bytes()) == shapes(directly)
    assert outcome.report.costs_after[Metric.STRUCTURES] == alive.sum()


def test_budget_report_and_answers_are_those_of_any_job(outcome: Outcome, report: dict[str, Any]) -> None:
    jsonschema_rs.validator_for(strict(report_schema())).validate(report)
    assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    assert [layer["before"] for layer in report["layers"]] == [16, 24, 32]
    cut = {b["name"]: (b["before"], b["after"]) for b in report["network"] if b["fate"] == "cut"}
    assert cut == {c["node"]: (c["before"], c["after"]) for c in report["layers"] if c["before"] > c["after"]}
    assert all(0 <= error < 1e-4 for error in report["checks"].values())
    x, y = (a[1200:1500] for a in digits())
    accuracy = float((answers(outcome.model.read_bytes(), x).argmax(1) == y).mean())
    assert report["after"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert accuracy > report["before"]["accuracy"] - 0.05


def test_the_report_says_what_each_step_did(outcome: Outcome, report: dict[str, Any]) -> None:
    steps, before, target = report["steps"], report["before"]["macs"], int(report["before"]["macs"] * 0.5)
    assert [s["target"] for s in steps] == [round(before - (before - target) * i / 3) for i in (1, 2)] + [
        target
    ]
    assert all(s["macs"] <= s["target"] for s in steps)
    assert [s["training"]["steps"] for s in steps] == [15, 15, 30]
    assert report["training"] == steps[-1]["training"]
    assert report["pruned_before_finetuning"] == steps[-1]["pruned_before_finetuning"]
    assert {name: steps[-1][name] for name in ("accuracy", "fidelity")}.items() <= report["after"].items()
    page = outcome.report_html.read_text("utf-8")
    budget = page[page.index('<section id="budget">') :]
    assert "3 cuts" in budget[: budget.index("</section>")]
    assert "60 steps of fine-tuning" in outcome.card.read_text("utf-8")
    assert "in 3 cuts" in outcome.card.read_text("utf-8")


def test_progress_goes_one_way_and_names_the_step(listener: Listener, outcome: Outcome) -> None:
    assert outcome.model.exists()
    order = [(STAGES.index(stage), done) for stage, done in listener.told]
    assert order == sorted(order)
    assert {stage for stage, done in listener.told if done == 1.0} == set(STAGES)
    named = [
        m for stage, m in listener.messages if stage in (EARLIER, "cut", "finetune", "write", "evaluate")
    ]
    assert list(dict.fromkeys(m.partition(":")[0] for m in named)) == [f"step {i} of 3" for i in (1, 2, 3)]


def test_one_step_is_the_job_it_was(data: Path, tmp_path: Path) -> None:
    """Nothing about steps reaches a job that cuts once, whatever the share between them would be."""
    plain, asked = recipe(), recipe(steps=1)
    asked = replace(asked, finetune=replace(asked.finetune, between=0.9))
    one, other = run(plain, data, tmp_path / "a"), run(asked, data, tmp_path / "b")
    assert one.model.read_bytes() == other.model.read_bytes()
    assert one.plan.read_text() == other.plan.read_text()
    assert other.report.steps == ()


@pytest.mark.parametrize("compensate", [False, True])
def test_without_training_the_file_is_the_original_cut_directly(
    compensate: bool, data: Path, tmp_path: Path
) -> None:
    outcome = run(job(training=0, compensate=compensate), data, tmp_path)
    built = prepare(digits_model())
    directly = slim(built.model, built.structures, kept_of(outcome.plan, built.structures))
    made, expected = (weights(m) for m in (outcome.model.read_bytes(), serialize(directly)))
    assert made.keys() == expected.keys()
    if compensate:  # which moves weights at every cut
        assert any(not np.array_equal(made[n], expected[n]) for n in made)
        return
    for name, value in expected.items():
        np.testing.assert_array_equal(made[name], value)


def weights(content: bytes) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer}


@pytest.mark.parametrize("metric", COUNTED)
def test_every_counted_metric_can_be_the_budget(metric: Metric, data: Path, tmp_path: Path) -> None:
    asked = job(training=4, budget=Budget(metric=metric, keep=0.5), method=Method.MAGNITUDE)
    report = run(asked, data, tmp_path).report
    assert report.costs_after[metric] <= 0.5 * report.costs_before[metric]
    assert [s.costs[metric] <= s.target for s in report.steps] == [True] * STEPS


def test_limits_of_layers_are_meant_of_the_original(data: Path, tmp_path: Path) -> None:
    limits = {
        "/0/Conv": LayerLimits(min_keep=0.75),
        "/4/Conv": LayerLimits(exact=8),
        "/9/Gemm": LayerLimits(max_keep=0.5),
    }
    asked = job(training=4, budget=Budget(metric=Metric.PARAMS, keep=0.4), layers=limits)
    widths = {c.node: c.after for c in run(asked, data, tmp_path).report.layers}
    assert widths["/0/Conv"] >= 12
    assert widths["/4/Conv"] == 8
    assert widths["/9/Gemm"] <= 16


def test_no_layer_loses_more_of_the_original_than_one_cut_may_take(data: Path, tmp_path: Path) -> None:
    asked = job(training=0, budget=Budget(keep=0.35), max_layer_ratio=0.5, steps=4)
    report = run(asked, data, tmp_path).report
    assert all(c.after >= c.before * 0.5 for c in report.layers)


def test_protected_and_rounded_widths_stay_so(data: Path, tmp_path: Path) -> None:
    asked = job(training=4, protect=("/0/Conv",), round_to=8, budget=Budget(keep=0.7))
    report = run(asked, data, tmp_path).report
    assert [c.node for c in report.layers] == ["/4/Conv", "/9/Gemm"]
    assert all(c.after % 8 == 0 for c in report.layers)
    assert any("/0/Conv" in r and "protected" in r for r in report.refusals)


def test_without_labels_the_original_teaches_every_step(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "plain.npz", labels=False)
    report = run(job(training=40), data, tmp_path / "out").report
    assert report.quality_after.accuracy is None
    assert all(s.quality.divergence <= s.pruned.divergence for s in report.steps)


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "digits.npz", count=130)
    outcome = run(job(training=4), data, tmp_path / "out", model=exported(trained(), batch=8))
    assert answers(outcome.model.read_bytes(), digits()[0][:8]).shape == (8, 10)


def test_a_folded_network_is_normalised_anew_in_every_step(data: Path, tmp_path: Path) -> None:
    content = exported(folded())
    outcome = run(job(), data, tmp_path, model=content)
    built = prepare(content)
    directly = slim(built.model, built.structures, kept_of(outcome.plan, built.structures))
    assert shapes(outcome.model.read_bytes()) == shapes(serialize(directly))
    assert [n.op_type for n in onnx.load_from_string(outcome.model.read_bytes()).graph.node] == [
        n.op_type for n in normalize(load_model(content)).graph
    ]


def folded() -> nn.Module:
    """The network of the digits without its normalisation."""
    return nn.Sequential(*(m for m in network() if not isinstance(m, nn.BatchNorm2d))).eval()


@pytest.mark.parametrize("when", ["step 1 of 3: step 1 of", "step 2 of 3: cut", "step 3 of 3: step 2 of"])
def test_it_stops_within_a_step_and_goes_on_to_the_same_file(when: str, data: Path, tmp_path: Path) -> None:
    asked, kept = job(), CheckpointFolder(tmp_path / "kept", every_s=0.0)
    calm = run(asked, data, tmp_path / "calm")
    with pytest.raises(Cancelled):
        run(asked, data, tmp_path / "out", checkpoints=kept, progress=Listener(stop_when=when))
    assert not (tmp_path / "out").exists()
    again = Listener()
    resumed = run(asked, data, tmp_path / "out", checkpoints=kept, progress=again)
    assert resumed.model.read_bytes() == calm.model.read_bytes()
    assert resumed.plan.read_text() == calm.plan.read_text()
    assert not any(m.startswith("step 1 of 3: step 1 of") for _, m in again.messages), "trained again"
    assert resumed.report.steps[0].quality == calm.report.steps[0].quality


def refused(match: str) -> Any:
    return pytest.raises(ValueError, match=rf"(?s)prune\.steps = 3 must .*{match}")


@pytest.mark.parametrize("mode", [Mode.BOTTLENECKS, Mode.EXPAND_PRUNE])
def test_modes_that_widen_cut_once(mode: Mode) -> None:
    with refused(f"mode {mode}"):
        replace(job(), mode=mode, expand=ExpandConfig())


def test_a_sweep_cuts_once() -> None:
    with refused("mode sweep"):
        Recipe(mode=Mode.SWEEP, prune=PruneConfig(steps=3, sweep=(0.5, 0.3)))


def test_a_search_for_quality_cuts_once() -> None:
    with refused("max_drop"):
        job(budget=Budget(max_drop=0.01))


def test_a_latency_is_met_in_one_cut() -> None:
    with refused("not latency"):
        job(budget=Budget(metric=Metric.LATENCY, keep=0.5))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 21}])
def test_a_number_of_steps_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"steps must lie in 1\.\.20"):
        PruneConfig(**wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.0])
def test_the_last_cut_always_gets_some_of_the_training(wrong: float) -> None:
    with pytest.raises(ValueError, match="between must lie in"):
        FinetuneConfig(between=wrong)
