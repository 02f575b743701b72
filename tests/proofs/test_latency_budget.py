"""A latency budget on a pretrained network: what was asked for is what the clock then says.

Needs a quiet machine, the networks and images of ``../shared``, and minutes: ``make proof``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sosp_core.config import BenchmarkConfig, Budget, FinetuneConfig, Metric, PruneConfig, Recipe
from sosp_core.pipeline import compress
from tests.proofs.test_pretrained import SHARED, data, pytestmark

__all__ = ["data", "pytestmark"]


@pytest.mark.parametrize("speedup", [1.5, 2.0])
def test_the_latency_asked_for_is_the_latency_measured(
    speedup: float, data: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = Recipe(
        prune=PruneConfig(budget=Budget(metric=Metric.LATENCY, keep=1 / speedup)),
        finetune=FinetuneConfig(steps=0),
        benchmark=BenchmarkConfig(batch_sizes=(16,), threads=(1,), min_time_s=5.0, max_time_s=30.0),
    )
    model = SHARED / "models" / "resnet56_cifar10.onnx"
    outcome = compress(model, data[0], asked, out_dir=tmp_path, evaluation=data[1], device="cpu")
    report = json.loads(outcome.report_json.read_text())
    told = {k: v for k, v in report["latency_budget"].items() if k != "curves"}
    sys.stdout.write(json.dumps({"budget": told, "summary": report["summary"]}, indent=1) + "\n")
    (measured,) = report["latency"]
    assert told["met"]
    assert measured["speedup"] == pytest.approx(speedup, rel=0.03)
