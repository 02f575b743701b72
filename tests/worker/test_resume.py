"""A second try goes on from what the first one finished, whoever ended that."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from service.client import Client, Job
from service.jobs.states import JobState
from sosp_core import compress
from tests.core.digits import digits_model, recipe, save_digits
from tests.live import Bench, links, running_stack, until


@pytest.fixture(scope="module")
def bench(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("resume")
    broker = valkey.removesuffix("0") + "7"
    options = {"broker_url": broker, "checkpoint_every_s": 0.0}
    with (
        running_stack(directory / "data", workers=1, **options) as stack,
        Client(stack.url) as client,
    ):
        yield Bench(stack, client, directory)


def messages(bench: Bench, job: Job) -> list[str]:
    """Every message that a job ever showed; some links are too quick to be shown."""
    told = bench.stack.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": "0"}).text
    return re.findall(r'"message":\s*"(link \d+, by \d+)"', told)


def begun(bench: Bench, link: int, *script: list[object]) -> Job:
    job = bench.submit(*script)
    until(lambda: (found := re.match(r"link (\d+)", job.refresh().message)) and int(found[1]) >= link)
    return job


def process_of(job: Job) -> int:
    return int(job.view.message.rpartition(" ")[2])


def result(job: Job, place: Path) -> str:
    return str(json.loads(job.download(place)["report.json"].read_text())["chain"])


def kill_child(bench: Bench, job: Job) -> None:
    os.kill(process_of(job), signal.SIGKILL)


def kill_worker(bench: Bench, job: Job) -> None:
    bench.stack.stop_worker(bench.stack.workers[0], signal.SIGKILL)
    bench.stack.start_worker()


def stop_worker(bench: Bench, job: Job) -> None:
    bench.stack.stop_worker(bench.stack.workers[0])
    bench.stack.start_worker()


@pytest.mark.parametrize("end", [kill_child, kill_worker, stop_worker], ids=lambda end: end.__name__)
def test_the_next_attempt_does_the_rest_only(
    bench: Bench, tmp_path: Path, end: Callable[[Bench, Job], None]
) -> None:
    job = begun(bench, 8, ["chain", 30, 0.1])
    first = process_of(job)
    end(bench, job)
    job.wait(40)
    assert result(job, tmp_path) == links(30)
    told = messages(bench, job)
    again = [int(re.split(r"[ ,]+", text)[1]) for text in told if not text.endswith(f" {first}")]
    assert again
    assert min(again) > 8
    assert not (bench.stack.settings.data_dir / "jobs" / job.id / "checkpoints").exists()


def test_a_cancelled_job_keeps_what_it_did_and_its_retry_goes_on(bench: Bench, tmp_path: Path) -> None:
    job = begun(bench, 8, ["chain", 30, 0.1])
    job.cancel()
    until(lambda: job.refresh().state is JobState.CANCELLED)
    kept = bench.stack.settings.data_dir / "jobs" / job.id / "checkpoints"
    assert [path.name for path in kept.iterdir()] == ["chain"]
    unused = job.retry()  # ended before it began: the next one looks further back
    unused.cancel()
    until(lambda: unused.refresh().state is JobState.CANCELLED)
    second = unused.retry()
    second.wait(40)
    assert result(second, tmp_path) == links(30)
    again = [int(re.split(r"[ ,]+", text)[1]) for text in messages(bench, second)]
    assert min(again) > 8
    assert not kept.exists()


def test_a_damaged_checkpoint_is_not_believed(bench: Bench, tmp_path: Path) -> None:
    job = begun(bench, 5, ["chain", 20, 0.1])
    job.cancel()
    until(lambda: job.refresh().state is JobState.CANCELLED)
    file = bench.stack.settings.data_dir / "jobs" / job.id / "checkpoints" / "chain"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"[", b"{", 1))
    second = job.retry()
    second.wait(40)
    assert result(second, tmp_path) == links(20)


@pytest.mark.slow
def test_a_real_job_killed_in_its_training_ends_with_the_file_of_an_undisturbed_one(
    valkey: str, tmp_path: Path
) -> None:
    data = save_digits(tmp_path / "data.npz")
    (tmp_path / "model.onnx").write_bytes(digits_model())
    job = recipe()
    undisturbed = compress(digits_model(), data, job, out_dir=tmp_path / "calm", device="cpu")
    options = {"broker_url": valkey.removesuffix("0") + "8", "checkpoint_every_s": 0.0, "max_attempts": 5}
    with (
        running_stack(tmp_path / "data", workers=1, scripted=False, **options) as stack,
        Client(stack.url) as client,
    ):
        model = client.upload_model(tmp_path / "model.onnx")
        queued = client.submit(model, client.upload_dataset(data), recipe=told(asdict(job)))
        kept = stack.settings.data_dir / "jobs" / queued.id / "checkpoints"
        for name in ("cut", "finetune"):
            until((kept / name).exists, 120)
            kill(stack.settings.data_dir)
        queued.wait(200)
        assert queued.refresh().attempt >= 2
        files = queued.download(tmp_path / "out")
    assert files["model.onnx"].read_bytes() == undisturbed.model.read_bytes()


def told(job: dict[str, object]) -> dict[str, object]:
    """A recipe as JSON has it."""
    found: dict[str, object] = json.loads(json.dumps(job))
    return found


def kill(data_dir: Path) -> None:
    """End the process of the one job that runs there."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal() and (place / "cmdline").exists():
            line = (place / "cmdline").read_bytes()
            if b"worker.child" in line and str(data_dir).encode() in line:
                os.kill(int(place.name), signal.SIGKILL)
