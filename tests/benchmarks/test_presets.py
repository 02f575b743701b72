"""Every recipe with a name, on a network it is meant for: the rows of the documentation's table."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sosp_core.config import ExportConfig, Quantization
from sosp_core.pipeline import compress
from sosp_core.presets import PRESETS
from tests.benchmarks.networks import files

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]
EXPORTS = ExportConfig(int8=Quantization.STATIC, fp16=True)
#: Points of accuracy a recipe may lose here; one of 597 samples is 0.17.
MAY_LOSE = {"quick": 6.0, "balanced": 3.0, "max-accuracy": 1.5, "label-free": 3.0, "transformer": 3.0}


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_keeps_its_promise(name: str, tmp_path: Path) -> None:
    kind = "vit" if name == "transformer" else "cnn"
    model, data, test = files(kind, tmp_path)
    torch.set_num_threads(1)
    began = time.monotonic()
    recipe = replace(PRESETS[name].recipe, export=EXPORTS)
    out = tmp_path / "out"
    outcome = compress(model, data, recipe, out_dir=out, evaluation=test, device="cpu")
    report, seconds = outcome.report, time.monotonic() - began
    told = [f"{name} on {kind}, {seconds:.0f} s of which training {report.timings['finetune']:.0f}"]
    told += [f"| {' | '.join(row)} |" for row in report.rows()]
    print("", *told, *report.warnings, sep="\n")  # noqa: T201
    assert report.costs_after["macs"] <= (recipe.prune.budget.keep or 0.5) * report.costs_before["macs"]
    assert report.quality_after.accuracy is not None
    assert report.quality_before.accuracy is not None
    lost = 100 * (report.quality_before.accuracy - report.quality_after.accuracy)
    assert lost <= MAY_LOSE[name]
