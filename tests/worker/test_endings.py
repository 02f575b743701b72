"""How jobs end: well, with a reason, when asked to, or killed from outside."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.client import JobFailed
from service.jobs.leases import Leases
from service.jobs.states import JobState
from service.schemas import JobView
from service.settings import Settings
from service.tracing import Traces
from service.transport import ApiError
from tests.live import FAST, STANDIN, Bench, lines, until
from tests.service.world import World
from worker.tasks import supervisor


def error_of(bench: Bench, *script: list[object]) -> JobView:
    job = bench.submit(*script)
    with pytest.raises(JobFailed):
        job.wait(30)
    return job.refresh()


def test_artifacts_have_tags_ranges_and_a_policy(bench: Bench) -> None:
    job = bench.submit()
    job.wait(30)
    path = f"/v1/jobs/{job.id}/artifacts"
    model, report = bench.stack.get(f"{path}/model.onnx"), bench.stack.get(f"{path}/report.html")
    assert model.headers["Content-Disposition"] == 'attachment; filename="model.onnx"'
    assert report.headers["Content-Disposition"] == 'inline; filename="report.html"'
    assert "default-src 'none'" in report.headers["Content-Security-Policy"]
    assert "script-src" not in report.headers["Content-Security-Policy"]
    tag = model.headers["ETag"]
    assert bench.stack.get(f"{path}/model.onnx", headers={"If-None-Match": tag}).status_code == 304
    part = bench.stack.get(f"{path}/model.onnx", headers={"Range": "bytes=2-5", "If-Range": tag})
    assert (part.status_code, part.content) == (206, model.content[2:6])
    last = bench.stack.get(f"{path}/model.onnx", headers={"Range": "bytes=-3"})
    assert (last.status_code, last.content) == (206, model.content[-3:])
    for ignored in (
        {"Range": "lines=1-2"},
        {"Range": "nonsense"},
        {"Range": "bytes=2-5", "If-Range": '"another"'},
        {"Range": "bytes=9999-", "If-Range": '"another"'},
        {"Range": "bytes=9999-", "If-Range": "Sat, 01 Jan 2000 00:00:00 GMT"},
    ):
        whole = bench.stack.get(f"{path}/model.onnx", headers=ignored)
        assert (whole.status_code, whole.content) == (200, model.content), ignored
    # Ranges are defined for GET alone.
    head = bench.stack.http.head(f"{path}/model.onnx", headers={"Range": "bytes=9999-"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Disposition"):
        assert head.headers[name] == model.headers[name]
    for nonsense in ("bytes=9999-", "bytes=5-2", "bytes=-0", "bytes=-", "bytes=x", "Bytes=9999-"):
        answer = bench.stack.get(f"{path}/model.onnx", headers={"Range": nonsense})
        assert (answer.status_code, answer.json()["code"]) == (416, "range_unsatisfiable"), nonsense
    assert bench.stack.get(f"{path}/log.txt").status_code == 404
    assert bench.stack.get(f"{path}/..%2f..%2fsosp.db").status_code == 404


def test_an_artifact_that_is_gone_from_the_disk_is_said_to_be(bench: Bench) -> None:
    job = bench.submit()
    job.wait(30)
    (bench.stack.settings.data_dir / "jobs" / job.id / "1" / "model.onnx").unlink()
    answer = bench.stack.get(f"/v1/jobs/{job.id}/artifacts/model.onnx")
    assert (answer.status_code, answer.json()["code"]) == (410, "artifact_gone")
    assert answer.json()["details"] == {"job_id": job.id, "name": "model.onnx"}
    with pytest.raises(ApiError, match="no longer on the disk"):
        job.download(bench.files / "out")


@pytest.mark.parametrize(
    ("step", "code", "attempts"),
    [
        (["raise", "DataEmpty", {"field": "x"}], "data_empty", 1),
        (["bug"], "internal", 1),
        (["memory"], "out_of_memory", 2),
        (["full_disk"], "insufficient_storage", 2),
        (["signal", "SIGSEGV"], "process_killed", 2),
        (["exit", 0], "process_exited", 2),
    ],
    ids=lambda value: str(value),
)
def test_a_job_that_fails_says_why(bench: Bench, step: list[object], code: str, attempts: int) -> None:
    view = error_of(bench, step)
    assert view.error is not None
    assert (view.state, view.error.code, view.attempt) == (JobState.FAILED, code, attempts)
    assert "Traceback" not in view.error.detail
    assert "secret" not in view.model_dump_json()


def test_the_traceback_of_a_bug_is_in_the_log_of_the_job(bench: Bench) -> None:
    view = error_of(bench, ["bug"])
    log = bench.stack.settings.data_dir / "jobs" / view.id / "1.work" / "log.txt"
    assert "a secret of the implementation" in log.read_text()


def test_a_worker_that_cannot_write_says_so_and_tries_again(bench: Bench, tmp_path: Path) -> None:
    bench.running(["once", str(tmp_path / "flag"), ["sleep", 1]])  # the one worker is busy
    job = bench.submit()
    place = bench.stack.settings.data_dir / "jobs" / job.id
    place.touch()  # nobody, not even root, makes a directory below a file
    until(lambda: job.refresh().attempt == 1 and job.view.state is JobState.QUEUED)
    place.unlink()
    job.wait(30)
    first = job.refresh().attempts[0]  # type: ignore[attr-defined]
    assert (first.outcome, first.error.code) == ("failed", "unavailable")


def test_an_attempt_that_was_killed_is_repeated(bench: Bench, tmp_path: Path) -> None:
    job = bench.submit(["once", str(tmp_path / "flag"), ["signal", "SIGKILL"]])
    view = job.wait(30)
    assert view.attempt == 2
    first = job.refresh().attempts[0]  # type: ignore[attr-defined]
    assert (first.outcome, first.error.details["signal"]) == ("failed", "SIGKILL")
    assert "memory" in first.error.detail


@pytest.mark.parametrize("step", [["sleep", 60], ["stubborn", 60]], ids=["willing", "stubborn"])
def test_cancel_takes_less_than_five_seconds(bench: Bench, step: list[object], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    job = bench.running(["note", str(note)], step)
    until(lambda: lines(note))
    began = time.monotonic()
    assert job.cancel().state is JobState.RUNNING
    with pytest.raises(JobFailed, match="was cancelled"):
        job.wait(10)
    assert time.monotonic() - began < 5
    assert job.view.state is JobState.CANCELLED
    assert not Path(f"/proc/{int(note.read_text())}").exists()


def test_a_result_stays_when_the_answer_to_its_commit_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(STANDIN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))  # the scripted pipeline, in the child
    settings = Settings(data_dir=tmp_path, **FAST)
    world, succeed, heard = World.open(settings), Leases.succeed, []

    def deaf_at_first(*arguments: Any) -> bool:
        heard.append(succeed(*arguments))
        if len(heard) == 1:
            raise OperationalError("COMMIT", None, Exception("the connection was closed"))
        return heard[-1]

    monkeypatch.setattr(Leases, "succeed", deaf_at_first)
    monkeypatch.setattr("worker.supervisor.SETTLE_RETRY_S", 0.0)
    job_id, traces = world.submit(), Traces()
    supervisor(settings, world.parts.db, worker="w", stopping=lambda: False, traces=traces).run(job_id)
    job = world.jobs.get(job_id)
    assert (job.state, heard) == (JobState.SUCCEEDED, [True, True])
    kept = [world.parts.artifacts.path(job.id, job.fence, made["name"]) for made in job.artifacts]
    assert kept
    assert all(path.is_file() for path in kept)
    world.close()
