"""A latency budget on a pretrained network: what was asked for is what the clock then says.

Needs a quiet machine, the networks and images of ``../shared``, and minutes: ``make proof``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sosp_core.config import (
    BenchmarkConfig,
    Budget,
    FinetuneConfig,
    Method,
    Metric,
    Mode,
    PruneConfig,
    Recipe,
)
from sosp_core.pipeline import compress
from tests.proofs.test_pretrained import SHARED, data, pytestmark

__all__ = ["data", "pytestmark"]


CLOCK = BenchmarkConfig(batch_sizes=(16,), threads=(1,), min_time_s=5.0, max_time_s=30.0)
UNTRAINED, SHORT = FinetuneConfig(steps=0), FinetuneConfig(epochs=3.0)
#: Two measurements of one network differ by this much.
ALIKE = 0.985
#: Of 1,000 images.
STANDARD_ERROR = 0.011


def report(name: str, data: tuple[Path, Path], recipe: Recipe, place: Path) -> dict[str, Any]:
    model, asked = SHARED / "models" / f"{name}.onnx", replace(recipe, benchmark=CLOCK)
    outcome = compress(model, data[0], asked, out_dir=place, evaluation=data[1], device="cpu")
    told: dict[str, Any] = json.loads(outcome.report_json.read_text())
    return told


@pytest.mark.parametrize("speedup", [1.5, 2.0])
def test_the_latency_asked_for_is_the_latency_measured(
    speedup: float, data: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = Recipe(
        prune=PruneConfig(budget=Budget(metric=Metric.LATENCY, keep=1 / speedup)), finetune=UNTRAINED
    )
    made = report("resnet56_cifar10", data, asked, tmp_path)
    told = {k: v for k, v in made["latency_budget"].items() if k != "curves"}
    sys.stdout.write(json.dumps({"budget": told, "summary": made["summary"]}, indent=1) + "\n")
    (measured,) = made["latency"]
    assert told["met"]
    assert measured["speedup"] == pytest.approx(speedup, rel=0.03)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["resnet20_cifar10", "resnet56_cifar10"])
def test_a_plan_by_macs_that_is_as_fast_is_worth_no_more(
    name: str, seed: int, data: tuple[Path, Path], tmp_path: Path
) -> None:
    """Against the largest share of the MACs that is measured as fast; both are trained alike."""
    budget = Budget(metric=Metric.LATENCY, keep=1 / 1.5)
    by_latency = report(
        *(name, data, Recipe(prune=PruneConfig(budget=budget), finetune=SHORT, seed=seed)),
        tmp_path / "latency",
    )
    reached = by_latency["latency"][0]["speedup"]
    shares = tuple(round(0.73 - 0.03 * i, 2) for i in range(15))
    offered = PruneConfig(method=Method.RECOVERY, sweep=shares)
    tried = report(
        *(name, data, Recipe(mode=Mode.SWEEP, prune=offered, finetune=UNTRAINED, seed=seed)),
        tmp_path / "tried",
    )
    as_fast = [p["keep"] for p in tried["sweep"] if p["latency"][0]["speedup"] >= ALIKE * reached]
    assert as_fast, f"no plan by MACs of {shares} runs {reached:.2f}x as fast"
    by_macs = report(
        *(name, data, Recipe(prune=PruneConfig(budget=Budget(keep=max(as_fast))), finetune=SHORT, seed=seed)),
        tmp_path / "macs",
    )
    for told in (by_latency, by_macs):
        sys.stdout.write(json.dumps({"summary": told["summary"]}, indent=1) + "\n")
    assert by_latency["after"]["accuracy"] >= by_macs["after"]["accuracy"] - STANDARD_ERROR


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["resnet20_cifar10", "resnet56_cifar10"])
def test_at_the_same_speed_a_network_is_no_worse_for_whole_branches(
    name: str, seed: int, data: tuple[Path, Path], tmp_path: Path
) -> None:
    """Why whole branches may go where a latency is asked for; both are trained alike."""
    budget = Budget(metric=Metric.LATENCY, keep=0.5)
    told = {
        depth: report(
            *(name, data, Recipe(prune=PruneConfig(budget=budget, depth=depth), finetune=SHORT, seed=seed)),
            tmp_path / str(depth),
        )
        for depth in (True, False)
    }
    for made in told.values():
        sys.stdout.write(json.dumps({"summary": made["summary"]}, indent=1) + "\n")
    assert [layer for layer in told[True]["layers"] if layer["after"] == 0]
    assert told[True]["after"]["accuracy"] >= told[False]["after"]["accuracy"] - STANDARD_ERROR
