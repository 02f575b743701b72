"""Jobs through the real API, a real broker and a real worker; only the pipeline is scripted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from service.jobs.messages import Doorbell
from service.jobs.states import JobState
from service.schemas import JobView
from tests.conftest import KINDS
from tests.live import Bench, lines, until

EVERY = pytest.mark.parametrize("bench", KINDS, indirect=True)
EMBEDDED = pytest.mark.parametrize("bench", ["sqlite+sqla"], indirect=True)
LARGE = pytest.mark.parametrize("bench", ["postgres+redis"], indirect=True)


@pytest.fixture(params=["sqlite+sqla", "postgres+redis"])
def bench(request: pytest.FixtureRequest, benches: Callable[[str], Bench]) -> Bench:
    """The tests of this file hold for every database and broker; those that take long use some."""
    return benches(request.param)


@EVERY
def test_a_job_is_done_shown_and_downloaded(bench: Bench, tmp_path: Path) -> None:
    job = bench.submit(["report", "score", "scoring"], ["sleep", 1.2], recipe={"seed": 5})
    seen: list[JobView] = []
    view = job.wait(30, on_update=seen.append)
    assert view.state is JobState.SUCCEEDED
    assert (view.overall, view.attempt, view.error) == (1.0, 1, None)
    assert view.metrics["summary"] == [["parameters", "10", "5", "-50 %"]]
    assert [v.seq for v in seen] == sorted({v.seq for v in seen})
    assert [v.overall for v in seen] == sorted(v.overall for v in seen)
    assert any(v.stage == "finetune" and v.message == "step" and v.eta_s and v.metrics for v in seen)
    files = job.download(tmp_path)
    assert set(files) == {"model.onnx", "report.json", "report.html", "plan.json", "MODEL_CARD.md"}
    assert files["report.json"].read_text() == '{"schema": 1, "seed": 5}'
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


@EVERY
def test_the_contract_is_the_same_whatever_is_behind_it(bench: Bench) -> None:
    http = bench.stack.http
    uploads = {"model_id": bench.model().id, "dataset_id": bench.data().id}
    order = uploads | {"queue": "bench.nowhere"}  # it waits for as long as nobody cancels it
    key = {"Idempotency-Key": uploads["model_id"]}
    first, again = (http.post("/v1/jobs", json=order, headers=key) for _ in range(2))
    assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = http.post("/v1/jobs", json=order | {"recipe": {"seed": 1}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    path = first.json()["links"]["self"]
    assert http.get(path).json() == first.json() | {"attempts": []}
    assert http.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert http.get("/v1/jobs", params={"limit": 1, "state": "queued"}).json()["items"] == [first.json()]
    for kind in ("model", "dataset"):
        assert http.delete(f"/v1/{kind}s/{uploads[f'{kind}_id']}").json()["code"] == "in_use"
    assert http.delete(path).json()["code"] == "job_not_finished"
    assert http.post(f"{path}/cancel").json()["state"] == "cancelled"
    events = http.get(f"{path}/events").text
    assert [line for line in events.splitlines() if line.startswith("id: ")] == ["id: 1", "id: 2"]
    retried = http.post(f"{path}/retry").json()
    assert (retried["retry_of"], retried["state"]) == (first.json()["id"], "queued")
    for link in (retried["links"]["self"], path):
        http.post(f"{link}/cancel")
        assert http.delete(link).status_code == 204
        assert http.get(link).json()["code"] == "not_found"
    assert http.get("/readyz").json()["status"] == "ready"


def test_a_message_delivered_twice_runs_the_job_once(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "runs"
    bell = Doorbell(bench.stack.settings.broker_url)
    job = bench.submit(["note", str(note)], ["sleep", 0.5])
    for _ in range(3):
        assert bell.ring(job.id)
    bell.close()
    job.wait(30)
    bench.submit().wait(30)  # the repeated messages came before this one
    assert (lines(note), job.refresh().attempt) == (1, 1)


def test_a_job_whose_worker_is_killed_is_run_by_the_next(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "runs"
    job = bench.running(["note", str(note)], ["once", str(tmp_path / "flag"), ["stubborn", 60]])
    until(lambda: lines(note))
    pid = int(note.read_text())
    bench.stack.stop_worker(bench.stack.workers[0], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), 5)  # the job's process went with it
    bench.stack.start_worker()
    view = job.wait(30)
    assert (view.state, view.attempt, lines(note)) == (JobState.SUCCEEDED, 2, 2)
    outcomes = [attempt.outcome for attempt in job.refresh().attempts]  # type: ignore[attr-defined]
    assert outcomes == ["lost", "succeeded"]


@LARGE
def test_a_worker_told_to_stop_hands_its_job_back_uncounted(bench: Bench, tmp_path: Path) -> None:
    job = bench.running(["once", str(tmp_path / "flag"), ["stubborn", 60]])
    until((tmp_path / "flag").exists)
    began = time.monotonic()
    bench.stack.stop_worker(bench.stack.workers[0])
    assert time.monotonic() - began < 15
    assert job.refresh().state is JobState.QUEUED
    assert len(job.view.attempts) == 1  # type: ignore[attr-defined]  # it did not take it up again
    assert bench.stack.get("/readyz").json()["workers"] == 0
    bench.stack.start_worker()
    assert job.wait(30).attempt == 1


@EMBEDDED
def test_an_api_that_is_killed_comes_back_to_the_same_jobs(bench: Bench) -> None:
    job = bench.running(["sleep", 2])
    bench.stack.stop_api(signal.SIGKILL)
    bench.stack.start_api()
    assert job.wait(30).state is JobState.SUCCEEDED
    assert bench.stack.get("/readyz").json()["status"] == "ready"


@LARGE
def test_two_workers_offered_the_same_message_again_and_again_run_it_once(
    bench: Bench, tmp_path: Path
) -> None:
    """As when a job outlasts the broker's visibility timeout, which kombu does not renew."""
    note, second = tmp_path / "runs", bench.stack.start_worker()
    job = bench.running(["note", str(note)], ["sleep", 2.5])
    with Celery(broker=bench.stack.settings.broker_url).connection_for_write() as connection:
        connection.transport_options = {"visibility_timeout": 0}
        for _ in range(3):
            connection.channel().qos.restore_visible(interval=1)
            time.sleep(0.5)
    view = job.wait(30)
    assert (view.state, view.attempt, lines(note)) == (JobState.SUCCEEDED, 1, 1)
    bench.submit().wait(30)
    assert lines(note) == 1
    bench.stack.stop_worker(second)


@LARGE
def test_a_job_waits_for_a_worker_of_its_queue(bench: Bench) -> None:
    job = bench.submit(queue="bench.pi")
    assert bench.submit(queue="cpu").wait(30).state is JobState.SUCCEEDED
    assert job.refresh().state is JobState.QUEUED
    target = bench.stack.start_worker(queues="bench.pi")
    view = job.wait(30)
    assert (view.state, view.queue) == (JobState.SUCCEEDED, "bench.pi")
    assert job.refresh().attempts[0].worker.endswith(f":{target.pid}")  # type: ignore[attr-defined]
    bench.stack.stop_worker(target)
