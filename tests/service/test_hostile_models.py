"""Models that are well-formed and mean harm, through the real pipeline: each costs one job, no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.client import ApiError, Client, JobFailed
from service.jobs.states import JobState
from tests.live import Stack, running_stack

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
OUTPUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
LOWEST = -(2**63)


def packed(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [INPUT], [OUTPUT], initializer=list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def numbers(name: str, *values: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def deep_if(depth: int) -> onnx.GraphProto:
    inner = [helper.make_node("Identity", ["x"], ["y0"])]
    for level in range(1, depth):
        branch = helper.make_graph(
            inner, f"b{level}", [], [helper.make_tensor_value_info(f"y{level - 1}", 1, None)]
        )
        inner = [helper.make_node("If", ["c"], [f"y{level}"], then_branch=branch, else_branch=branch)]
        if level > 12:  # both branches double the size
            break
    return helper.make_graph(inner, "deep", [], [helper.make_tensor_value_info(inner[0].output[0], 1, None)])


def outside() -> onnx.ModelProto:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 1, 1], np.ones(12, np.float32))
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../../../../../etc/passwd"
    return packed(helper.make_node("Conv", ["x", "w"], ["y"]), weights=(weight,))


HOSTILE = {
    "division that traps": packed(
        helper.make_node("Div", ["a", "b"], ["d"]),
        helper.make_node("Cast", ["d"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
        weights=(numbers("a", LOWEST), numbers("b", -1)),
    ),
    "16 TB of zeros": packed(
        helper.make_node("ConstantOfShape", ["s"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["t"], keepdims=0),
        helper.make_node("Add", ["x", "t"], ["y"]),
        weights=(numbers("s", 2**21, 2**21),),
    ),
    "file of the host": outside(),
    "unknown operator": packed(helper.make_node("Evil", ["x"], ["y"], domain="evil")),
    "compiled context": packed(
        helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/passwd")
    ),
    "stride of nothing": packed(
        helper.make_node("Conv", ["x", "w"], ["y"], strides=[0, 0]),
        weights=(helper.make_tensor("w", 1, [4, 3, 1, 1], np.ones(12, np.float32)),),
    ),
    "cycle": packed(helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["a", "x"], ["b"])),
    "nested branches": packed(
        helper.make_node("If", ["c"], ["y"], then_branch=deep_if(10), else_branch=deep_if(10)),
        weights=(helper.make_tensor("c", TensorProto.BOOL, [1], [True]),),
    ),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[Stack]:
    broker = valkey.removesuffix("0") + "7"
    limits = {"job_time_limit_s": 60.0, "job_memory_bytes": 2**34, "max_attempts": 1}
    directory = tmp_path_factory.mktemp("models")
    with running_stack(directory, workers=1, scripted=False, broker_url=broker, **limits) as running:
        yield running
        assert running.workers[0].poll() is None
        assert running.get("/readyz").json()["status"] == "ready"


#: Seen when it arrives, before any job.
AT_THE_DOOR = "file of the host"


def test_a_model_that_names_a_file_of_the_host_is_not_taken(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(HOSTILE[AT_THE_DOOR].SerializeToString())
    with Client(stack.url) as client, pytest.raises(ApiError, match="external file") as caught:
        client.upload_model(tmp_path / "net.onnx")
    assert caught.value.status == 422
    assert "root:" not in str(caught.value)
    assert stack.get("/v1/models").json()["items"] == []


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != AT_THE_DOOR])
def test_a_hostile_model_fails_its_own_job_and_says_why(stack: Stack, name: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(HOSTILE[name].SerializeToString())
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    with Client(stack.url) as client:
        model, data = client.upload_model(tmp_path / "net.onnx"), client.upload_dataset(tmp_path / "data.npz")
        job = client.submit(model, data)
        with pytest.raises(JobFailed) as caught:
            job.wait(120)
    assert job.view.state is JobState.FAILED
    assert caught.value.error.code != "internal"
    assert "root:" not in job.view.model_dump_json()
