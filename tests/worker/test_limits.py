"""What ends attempts from outside: time limits, lost leases, workers that die again and again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import Client, JobFailed
from service.jobs.database import Database
from service.jobs.states import JobState
from tests.live import Bench, lines, running_stack, until


@pytest.fixture(scope="module")
def bench(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("limits")
    broker = valkey.removesuffix("0") + "1"
    with running_stack(directory / "data", broker_url=broker) as stack, Client(stack.url) as client:
        yield Bench(stack, client, directory)


def test_an_attempt_over_the_time_limit_is_killed(bench: Bench) -> None:
    worker = bench.stack.start_worker(job_time_limit_s=1.5)
    job = bench.submit(["stubborn", 60])
    with pytest.raises(JobFailed) as caught:
        job.wait(30)
    assert (caught.value.error.code, job.view.attempt) == ("time_limit_exceeded", 1)
    bench.stack.stop_worker(worker, signal.SIGKILL)


def test_a_job_that_loses_every_worker_fails_in_the_end(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "runs"
    job = bench.submit(["note", str(note)], ["stubborn", 60])
    for attempt in (1, 2):
        worker = bench.stack.start_worker()
        until(lambda n=attempt: lines(note) == n)  # type: ignore[misc]
        bench.stack.stop_worker(worker, signal.SIGKILL)
    with pytest.raises(JobFailed) as caught:
        job.wait(20)
    assert (caught.value.error.code, job.view.state) == ("worker_lost", JobState.FAILED)
    assert lines(note) == 2


def test_a_worker_that_was_frozen_past_its_lease_gives_up_its_job(bench: Bench, tmp_path: Path) -> None:
    frozen = bench.stack.start_worker()
    job = bench.running(["once", str(tmp_path / "flag"), ["sleep", 60]])
    pool = children(frozen.pid)
    # While we write nobody else does: frozen in the middle of that, it would keep SQLite's lock.
    with Database(bench.stack.settings.database_url, pooled=False).write() as session:
        session.connection()  # a session takes the lock with its first statement, not before
        for pid in (frozen.pid, *pool):
            os.kill(pid, signal.SIGSTOP)
        until(lambda: all(stopped(pid) for pid in (frozen.pid, *pool)))  # a signal takes its time
    until(lambda: job.refresh().state is JobState.QUEUED)
    healthy = bench.stack.start_worker()
    assert job.wait(30).attempt == 2
    for pid in (frozen.pid, *pool):
        os.kill(pid, signal.SIGCONT)
    until(lambda: not any(children(pid) for pid in pool))  # the old attempt's process is gone
    assert job.refresh().state is JobState.SUCCEEDED
    outcomes = [attempt.outcome for attempt in job.view.attempts]  # type: ignore[attr-defined]
    assert outcomes == ["lost", "succeeded"]
    for worker in (frozen, healthy):
        bench.stack.stop_worker(worker, signal.SIGKILL)


def stopped(pid: int) -> bool:
    """Whether every thread of a process is; one that runs on for a moment could still begin to write."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
