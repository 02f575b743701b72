"""What the process of a job may use, and what is said when it wants more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, JobFailed
from service.jobs.states import JobState
from service.schemas import JobView
from tests.live import Bench, Stack, running_stack
from worker import memory
from worker.confine import NICENESS

MIB = 2**20
LIMITS: dict[str, Any] = {
    "job_memory_bytes": 1024 * MIB,
    "job_cpu_s": 3,
    "job_file_bytes": 2 * MIB,
    "job_log_bytes": 100_000,
}


@pytest.fixture(scope="module")
def bench(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("confined")
    broker = valkey.removesuffix("0") + "2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
        with (
            running_stack(directory / "data", workers=1, broker_url=broker, **LIMITS) as stack,
            Client(stack.url) as client,
        ):
            yield Bench(stack, client, directory)


def failed(bench: Bench, *script: list[object]) -> JobView:
    job = bench.submit(*script)
    with pytest.raises(JobFailed):
        job.wait(40)
    return job.refresh()


@pytest.mark.parametrize(
    ("step", "code", "attempts"),
    [
        (["allocate", 2 * 1024 * MIB], "out_of_memory", 2),
        (["write", 4 * MIB], "result_too_large", 1),
        (["spin", 60], "processor_time_exceeded", 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_more_than_allowed_is_refused_and_named(
    bench: Bench, step: list[object], code: str, attempts: int
) -> None:
    view = failed(bench, step)
    assert view.error is not None
    assert (view.state, view.error.code, view.attempt) == (JobState.FAILED, code, attempts)


def test_a_long_log_keeps_its_beginning(bench: Bench) -> None:
    job = bench.submit(["chatter", 1000], ["bug"])
    with pytest.raises(JobFailed):
        job.wait(40)
    log = bench.stack.settings.data_dir / "jobs" / job.id / "1.work" / "log.txt"
    content = log.read_bytes()
    assert 0 < len(content) <= 100_000
    assert b"\0" not in content


def test_a_job_sees_no_secret_and_no_network(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "seen.json"
    bench.submit(["look", str(note)]).wait(30)
    seen = json.loads(note.read_text())
    assert not [name for name in seen["environment"] if name.startswith(("SOSP_", "AWS_"))]
    assert bench.stack.settings.broker_url not in str(seen["environment"])
    assert seen["interfaces"] == ["lo"]
    assert seen["loopback"] == 0
    assert seen["core"] == [0, 0]
    assert seen["session"]


def test_a_job_lets_others_have_the_processor_first(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "seen.json"
    bench.submit(["look", str(note)]).wait(30)
    seen = json.loads(note.read_text())
    assert seen["niceness"] == os.nice(0) + NICENESS
    if "/autogroup-" in seen["autogroup"]:  # the kernel weighs sessions, not processes
        assert seen["autogroup"].split()[-1] == str(NICENESS)


@pytest.mark.skipif(os.getuid() != 0, reason="becoming somebody else takes root")
def test_the_network_is_left_without_privileges_too() -> None:
    code = (
        "import os, socket\n"
        "from worker.confine import leave_network\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "left = leave_network(); print(left, os.getuid(), [n for _, n in socket.if_nameindex()])"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    if shown.startswith("False"):
        pytest.skip("this machine allows no user namespaces")
    assert shown.strip() == "True 65534 ['lo']"


def test_a_damaged_upload_fails_the_job_and_is_named(bench: Bench) -> None:
    stack: Stack = bench.stack
    model, data = bench.model(["report", "load", "damaged"]), bench.data()
    blob = stack.settings.data_dir / "blobs" / model.sha256[:2] / model.sha256[2:]
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(JobFailed) as caught:
        bench.client.submit(model, data).wait(30)
    assert caught.value.error.code == "upload_damaged"
    assert caught.value.error.details == {"kind": "model", "id": model.id}


def test_kills_by_the_kernel_are_counted_where_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tmp_path / "memory.events"
    monkeypatch.setattr(memory, "COUNTERS", (tmp_path / "absent", events))
    assert memory.kills() == 0
    events.write_text("low 0\noom 3\noom_kill 2\n")
    assert memory.kills() == 2


@pytest.mark.parametrize(
    ("error", "device"),
    [
        (MemoryError(), "cpu"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "cpu"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "cuda"),
        (RuntimeError("std::bad_alloc"), "cpu"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
    ids=str,
)
def test_what_libraries_say_of_memory_is_understood(error: Exception, device: str | None) -> None:
    assert memory.exhausted_device(error) == device
