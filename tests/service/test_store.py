from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.errors import IdempotencyMismatch, InUse, JobNotFinished, NotFound
from service.jobs import ids
from service.jobs.artifacts import Artifact
from service.jobs.leases import Claim, Report
from service.jobs.states import NEXT, TERMINAL, JobState
from service.settings import Settings
from tests.live import FAST
from tests.service.world import World, stage

ERROR = {"code": "x", "detail": "d", "details": {}, "retryable": True, "stage": None, "attempt": 1}


def test_ids_sort_by_time_and_say_what_they_name() -> None:
    made = [ids.new(ids.JOB) for _ in range(3)]
    assert all(ids.is_id(id, ids.JOB) for id in made)
    assert not any(ids.is_id(id, ids.MODEL) for id in made)
    later = ids.new(ids.JOB)
    assert later[:14] >= made[0][:14]


def test_a_job_goes_from_queue_to_success_and_tells_of_every_step(world: World) -> None:
    job_id = world.submit()
    claim = world.claim(job_id)
    assert world.leases.report(claim, Report(stage="score", progress=0.5, overall=0.2, metrics={"loss": 1.0}))
    assert world.leases.succeed(claim, [Artifact("model.onnx", 1, "0" * 64)], {"summary": []})
    job = world.jobs.get(job_id)
    assert (job.state, job.seq, job.attempt, job.overall) == (JobState.SUCCEEDED, 4, 1, 1.0)
    assert job.finished_at is not None
    assert job.lease_until is None
    events = world.jobs.events(job_id, after=0)
    assert [(event.seq, event.data["state"]) for event in events] == [
        (1, "queued"),
        (2, "running"),
        (3, "running"),
        (4, "succeeded"),
    ]
    assert [attempt.outcome for attempt in world.jobs.attempts(job_id)] == ["succeeded"]


def test_one_of_many_claims_wins(world: World) -> None:
    job_id = world.submit()
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: world.leases.claim(job_id, f"worker {n}"), range(8)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_worker_that_lost_its_lease_can_write_nothing(world: World) -> None:
    job_id = world.submit()
    old = world.claim(job_id)
    world.expire(job_id)
    world.parts.reaper.recover(job_id)
    new = world.claim(job_id)
    report = Report(stage="score", progress=0.1, overall=0.1)
    assert new.fence == old.fence + 1
    assert not world.leases.renew(old)
    assert not world.leases.report(old, report)
    assert not world.leases.succeed(old, [], {})
    assert not world.leases.fail(old, ERROR)
    assert world.leases.renew(new)
    assert world.jobs.get(job_id).state is JobState.RUNNING


def test_cancel_ends_a_queued_job_and_asks_a_running_one(world: World) -> None:
    queued, running = world.submit(), world.submit()
    claim = world.claim(running)
    assert not world.leases.cancel_requested(claim)
    assert world.jobs.cancel(queued).state is JobState.CANCELLED
    assert world.jobs.cancel(running).state is JobState.RUNNING
    assert world.leases.cancel_requested(claim)
    assert world.leases.claim(queued, "late") is None


@pytest.mark.parametrize("how", ["release", "retry"])
def test_a_job_put_back_ends_if_its_user_asked_for_that(world: World, how: str) -> None:
    job_id = world.submit()
    claim = world.claim(job_id)
    world.jobs.cancel(job_id)
    assert world.leases.release(claim) if how == "release" else world.leases.retry(claim, ERROR, pause_s=3600)
    job = world.jobs.get(job_id)
    assert (job.state, job.error, job.lease_until) == (JobState.CANCELLED, None, None)
    assert job.finished_at


def test_a_cancel_that_meets_the_end_of_an_attempt_is_heard(world: World) -> None:
    for how in ("release", "retry") * 5:
        job_id = world.submit()
        claim = world.claim(job_id)
        put_back = {
            "release": lambda claim: world.leases.release(claim),
            "retry": lambda claim: world.leases.retry(claim, ERROR, pause_s=3600),
        }[how]
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(world.jobs.cancel, job_id)
            assert pool.submit(put_back, claim).result()
            asked.result()
        assert world.jobs.get(job_id).state is JobState.CANCELLED


def test_success_is_told_again_to_whoever_did_not_hear_of_it(world: World) -> None:
    job_id = world.submit()
    claim = world.claim(job_id)
    assert world.leases.succeed(claim, [], {})
    assert world.leases.succeed(claim, [], {})
    assert not world.leases.succeed(replace(claim, fence=claim.fence - 1), [], {})
    assert world.jobs.get(job_id).seq == 3


def test_delete_waits_for_the_end(world: World) -> None:
    job_id = world.submit()
    with pytest.raises(JobNotFinished) as caught:
        world.jobs.delete(job_id)
    assert caught.value.state == "queued"
    world.jobs.cancel(job_id)
    world.jobs.delete(job_id)
    with pytest.raises(NotFound):
        world.jobs.get(job_id)
    assert world.jobs.events(job_id, after=0) == []


def test_a_key_makes_one_job_however_often_it_is_sent(world: World) -> None:
    barrier = threading.Barrier(8)

    def submit(_: int) -> tuple[str, bool]:
        barrier.wait()
        job, new = world.jobs.submit(world.order, "key")
        return job.id, new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(8)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    with pytest.raises(IdempotencyMismatch):
        world.jobs.submit(replace(world.order, evaluation_id=world.order.dataset_id), "key")


def test_equal_bytes_are_stored_once_and_go_with_their_last_name(world: World) -> None:
    parts = world.parts
    one, two = (stage(parts, parts.models, b"same", "onnx") for _ in range(2))
    blob = parts.blobs.path(parts.models.get(one).sha256)
    assert one != two
    assert blob.read_bytes() == b"same"
    parts.models.remove(one)
    assert blob.exists()
    parts.models.remove(two)
    assert not blob.exists()
    with pytest.raises(NotFound):
        parts.models.remove(two)


def test_what_an_unfinished_job_uses_stays(world: World) -> None:
    job_id = world.submit()
    with pytest.raises(InUse) as caught:
        world.parts.models.remove(world.order.model_id)
    assert caught.value.job_id == job_id
    world.jobs.cancel(job_id)
    world.parts.models.remove(world.order.model_id)
    assert world.jobs.get(job_id).model_id == world.order.model_id


class Life(RuleBasedStateMachine):
    """Any order of what users, workers and reapers do to one job keeps the job's promises."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.directory = tempfile.TemporaryDirectory()
        configured = Settings(data_dir=Path(self.directory.name), **FAST)
        self.world = World.open(configured)
        self.job_id = self.world.submit()
        self.claims: list[Claim] = []
        self.seen = [JobState.QUEUED]
        self.seq = 1

    @rule()
    def claim(self) -> None:
        claim = self.world.leases.claim(self.job_id, "worker")
        assert (claim is not None) == (self.seen[-1] is JobState.QUEUED)
        self.claims += [claim] if claim else []

    @precondition(lambda self: self.claims)
    @rule(
        newest=st.booleans(),
        what=st.sampled_from(["report", "succeed", "fail", "retry", "cancel", "release"]),
    )
    def write(self, newest: bool, what: str) -> None:
        claim = self.claims[-1 if newest else 0]
        leases = self.world.leases
        holds = claim is self.claims[-1] and self.seen[-1] is JobState.RUNNING
        arguments: dict[str, tuple[Any, ...]] = {
            "report": (Report(stage="cut", progress=0.0, overall=0.0),),
            "succeed": ([], {}),
            "fail": (ERROR,),
            "retry": (ERROR,),
        }
        options = {"pause_s": 0.0} if what == "retry" else {}
        won = what == "succeed" and claim is self.claims[-1] and self.seen[-1] is JobState.SUCCEEDED
        assert getattr(leases, what)(claim, *arguments.get(what, ()), **options) == (holds or won)

    @rule()
    def cancel(self) -> None:
        self.world.jobs.cancel(self.job_id)

    @precondition(lambda self: self.seen[-1] is JobState.RUNNING)
    @rule()
    def lose(self) -> None:
        self.world.expire(self.job_id)
        self.world.parts.reaper.recover(self.job_id)
        assert self.world.jobs.get(self.job_id).state is not JobState.RUNNING

    @invariant()
    def promises_hold(self) -> None:
        job = self.world.jobs.get(self.job_id)
        assert job.seq >= self.seq
        if job.state is not self.seen[-1]:
            assert job.state in NEXT.get(self.seen[-1], ())
            self.seen.append(job.state)
        assert job.state is not JobState.QUEUED or not job.cancel_requested
        if job.state in TERMINAL:
            assert job.finished_at is not None
            assert self.world.leases.claim(self.job_id, "late") is None
        assert (job.lease_until is not None) == (job.state is JobState.RUNNING)
        events = self.world.jobs.events(self.job_id, after=self.seq)
        assert [event.seq for event in events] == list(range(self.seq + 1, job.seq + 1))
        self.seq = job.seq

    def teardown(self) -> None:
        self.world.close()
        self.directory.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
