"""A network through everything that is real: HTTP, a broker, a worker process and the pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.cli.main import run
from service.client import Client, JobFailed
from service.jobs.states import JobState
from service.schemas import JobView
from tests.live import Stack, running_stack

RECIPE: dict[str, Any] = {
    "prune": {"budget": {"keep": 0.6}, "rounds": 2, "samples": 32},
    "finetune": {"steps": 4, "batch_size": 8},
    "benchmark": {"batch_sizes": [1], "min_time_s": 0.05, "max_time_s": 0.1},
    "export": {"int8": "static", "fp16": True},
}


def tiny_network(channels: int = 8) -> bytes:
    """Two convolutions and a classifier with random weights."""
    rng = np.random.default_rng(0)
    shapes = {"a": (channels, 3, 3, 3), "b": (channels, channels, 3, 3), "head": (4, channels)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.3).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], "first", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Conv", ["q", "b"], ["r"], "second", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["r"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["t"]),
        helper.make_node("Flatten", ["t"], ["u"]),
        helper.make_node("Gemm", ["u", "head"], ["y"], "classify", transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "tiny", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(1)
    (directory / "tiny.onnx").write_bytes(tiny_network())
    np.savez(directory / "data.npz", x=rng.standard_normal((48, 3, 8, 8)).astype(np.float32))
    np.savez(directory / "wrong.npz", z=np.zeros((4, 2), np.float32))
    (directory / "recipe.json").write_text(json.dumps(RECIPE))
    return directory


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    broker = "" if request.param == "sqlite" else request.getfixturevalue("valkey").removesuffix("0") + "4"
    directory = tmp_path_factory.mktemp("real")
    with running_stack(directory, workers=1, scripted=False, broker_url=broker) as running:
        yield running


def outputs(path: Path, batch: int) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    feeds = {"x": np.ones((batch, 3, 8, 8), np.float32)}
    (found,) = session.run(["y"], feeds)
    return np.asarray(found)


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True)
def test_a_network_comes_back_smaller_with_the_same_interface(
    stack: Stack, files: Path, tmp_path: Path
) -> None:
    with Client(stack.url) as client:
        model, data = client.upload_model(files / "tiny.onnx"), client.upload_dataset(files / "data.npz")
        job = client.submit(model, data, evaluation=data, recipe=RECIPE)
        seen: list[JobView] = []
        view = job.wait(120, on_update=seen.append)
        made = job.download(tmp_path)
    assert (view.state, view.attempt) == (JobState.SUCCEEDED, 1)
    stages = {view.stage for view in seen}
    assert stages - {None}  # which of them a poll meets is chance
    assert view.metrics["summary"]
    assert made["model.onnx"].stat().st_size < (files / "tiny.onnx").stat().st_size
    assert outputs(made["model.onnx"], 3).shape == outputs(files / "tiny.onnx", 3).shape == (3, 4)
    assert json.loads(made["report.json"].read_text())
    assert json.loads(made["plan.json"].read_text())
    assert "<html" in made["report.html"].read_text().lower()


def test_the_command_leaves_the_same_files_from_here(files: Path, tmp_path: Path) -> None:
    compress(files, tmp_path)


@pytest.mark.parametrize("stack", ["valkey"], indirect=True)
def test_the_command_leaves_the_same_files_from_a_server(stack: Stack, files: Path, tmp_path: Path) -> None:
    compress(files, tmp_path, "--server", stack.url)


# Of 16 structures an odd number goes, so that one of two equal layers loses less than its share.
ODD = ("--set", 'prune.budget={"metric": "structures", "at_most": 11}')
WIDEN = ("--set", "expand.threshold=1", "--set", "expand.factor=1.5", *ODD)


@pytest.mark.parametrize("mode", ["bottlenecks", "expand-prune"])
def test_a_network_is_widened_from_here(mode: str, files: Path, tmp_path: Path) -> None:
    compress(files, tmp_path, "--set", f"mode={mode}", *WIDEN)
    report = json.loads((tmp_path / "slim.report.json").read_text())
    assert report["recipe"]["mode"] == mode
    assert report["expansion"]["variants"]


@pytest.mark.parametrize("stack", ["valkey"], indirect=True)
def test_a_network_is_widened_on_a_server(stack: Stack, files: Path, tmp_path: Path) -> None:
    compress(files, tmp_path, "--server", stack.url, "--set", "mode=bottlenecks", *WIDEN)
    report = json.loads((tmp_path / "slim.report.json").read_text())
    assert [v["name"] for v in report["expansion"]["variants"]] == ["bottlenecks", "uniform"]
    assert report["after"]["params"] > report["before"]["params"]


@pytest.mark.parametrize("stack", ["valkey"], indirect=True)
def test_data_for_another_network_is_named(stack: Stack, files: Path) -> None:
    with Client(stack.url) as client:
        model, data = client.upload_model(files / "tiny.onnx"), client.upload_dataset(files / "wrong.npz")
        with pytest.raises(JobFailed) as caught:
            client.submit(model, data).wait(120)
    assert caught.value.error.code == "data_mismatch"
    assert caught.value.error.details["field"] == "x"


def compress(files: Path, place: Path, *options: str) -> None:
    inputs = [str(files / "tiny.onnx"), str(files / "data.npz"), "-o", str(place / "slim.onnx")]
    assert run(["compress", *inputs, "--recipe", str(files / "recipe.json"), "--json", *options]) == 0
    assert sorted(path.name for path in place.iterdir()) == [
        "slim.MODEL_CARD.md",
        "slim.fp16.onnx",
        "slim.int8.onnx",
        "slim.onnx",
        "slim.plan.json",
        "slim.plots.zip",
        "slim.report.html",
        "slim.report.json",
    ]
    assert outputs(place / "slim.onnx", 2).shape == (2, 4)
