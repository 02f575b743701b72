"""A job whose plan takes a whole branch: from the file to the report, and every way to forbid it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema_rs
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from sosp_core.checkpoints import CheckpointFolder
from sosp_core.config import BenchmarkConfig, Budget, LayerLimits, Metric, PruneConfig, Recipe
from sosp_core.pipeline import Outcome, compress
from sosp_core.report.schema import report_schema
from tests.core.digits import INPUT, exported, fitted, recipe, save_digits
from tests.oracles import counting

BUDGET = Budget(metric=Metric.MACS, keep=0.25)


class Block(nn.Module):
    """What it adds matters the less, the smaller ``share`` is."""

    def __init__(self, width: int, inner: int, share: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width),  # goes by the width of what stays
            *(nn.Conv2d(width, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
        )
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.share * self.body(x))


@cache
def residual_model() -> bytes:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(Block(16, 16, 0.02), nn.MaxPool2d(2), Block(16, 16, 1.0)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    )
    return exported(fitted(network))


def job(**prune: object) -> Recipe:
    return recipe(**{"budget": BUDGET, "round_to": 8, "depth": True, **prune})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_digits(tmp_path_factory.mktemp("data") / "digits.npz")


@pytest.fixture(scope="module")
def outcome(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    out = tmp_path_factory.mktemp("out")
    return compress(residual_model(), data, job(), out_dir=out, device="cpu")


@pytest.fixture(scope="module")
def report(outcome: Outcome) -> dict:
    return json.loads(outcome.report_json.read_text())


def emptied(report: dict) -> list[str]:
    return [layer["node"] for layer in report["layers"] if layer["after"] == 0]


def test_a_branch_is_gone_and_told(report: dict, outcome: Outcome) -> None:
    jsonschema_rs.validate(report_schema(), report)
    gone = emptied(report)
    assert [name for name in gone if "/3/body" in name] == gone != []
    assert len(gone) == 2, "both layers of the branch; a depthwise convolution has no width of its own"
    fates = {block["name"]: block["fate"] for block in report["network"]}
    assert {fates[name] for name in gone} == {"gone"}
    assert "whole branch removed" in outcome.report_html.read_text()


def test_what_is_counted_is_what_the_file_holds(report: dict, outcome: Outcome) -> None:
    slim = onnx.load(outcome.model)
    assert report["after"]["params"] == counting.weights(slim)
    image = {INPUT: np.zeros((1, 1, 8, 8), np.float32)}
    assert report["after"]["macs"] == counting.multiply_accumulates(slim, image)
    assert not {node.name for node in slim.graph.node} & set(emptied(report))
    assert report["after"]["macs"] <= 0.25 * report["before"]["macs"]


@pytest.mark.parametrize(
    "forbidden",
    [
        {"depth": False, "budget": Budget(metric=Metric.MACS, keep=0.4)},
        {"protect": ("/3/body/body.1/Conv",), "budget": Budget(metric=Metric.MACS, keep=0.6)},
        {
            "layers": {"/3/body/body.1/Conv": LayerLimits(min_keep=8)},
            "budget": Budget(metric=Metric.MACS, keep=0.4),
        },
    ],
    ids=["depth", "protect", "layers"],
)
def test_a_branch_that_has_to_stay_stays(forbidden: dict, data: Path, tmp_path: Path) -> None:
    kept = compress(residual_model(), data, job(**forbidden), out_dir=tmp_path, device="cpu")
    gone = emptied(json.loads(kept.report_json.read_text()))
    assert not [name for name in gone if "/3/body" in name]


def test_a_job_goes_on_after_the_cut(data: Path, tmp_path: Path, outcome: Outcome) -> None:
    """The plan and the cut model survive their checkpoints, empty layers and constants alike."""
    kept = CheckpointFolder(tmp_path / "kept", every_s=0.0)
    for place in ("first", "again"):
        done = compress(
            residual_model(), data, job(), out_dir=tmp_path / place, device="cpu", checkpoints=kept
        )
        assert done.model.read_bytes() == outcome.model.read_bytes()


def test_of_several_cuts_the_last_takes_the_branch(data: Path, tmp_path: Path) -> None:
    """And the constant that stands for it is cut with the sum that it is added to."""
    done = compress(residual_model(), data, job(steps=2), out_dir=tmp_path, device="cpu")
    told = json.loads(done.report_json.read_text())
    assert [name for name in emptied(told) if "/3/body" in name]
    assert told["after"]["params"] == counting.weights(onnx.load(done.model))
    assert told["after"]["macs"] <= 0.25 * told["before"]["macs"]


@pytest.mark.parametrize(
    ("metric", "depth", "takes"),
    [
        (Metric.LATENCY, None, True),
        (Metric.LATENCY, False, False),
        (Metric.MACS, None, False),
        (Metric.SIZE, True, True),
    ],
)
def test_where_nothing_is_said_the_budget_decides(metric: Metric, depth: bool | None, takes: bool) -> None:
    assert PruneConfig(budget=Budget(metric=metric, keep=0.5), depth=depth).takes_branches is takes


def test_by_the_clock_a_branch_may_go_too(data: Path, tmp_path: Path) -> None:
    """In sixteens no layer of this network can be narrower: all that can be saved is a branch."""
    asked = replace(
        job(budget=Budget(metric=Metric.LATENCY, keep=0.9), round_to=16, depth=None),
        benchmark=BenchmarkConfig(batch_sizes=(64,), min_time_s=0.2, max_time_s=1.0),
    )
    done = compress(residual_model(), data, asked, out_dir=tmp_path, device="cpu")
    told = json.loads(done.report_json.read_text())
    assert emptied(told)
    assert told["latency_budget"]["predicted_share"] <= 0.9
    assert {layer["after"] for layer in told["layers"]} == {0, 16}
