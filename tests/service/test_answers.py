"""Answers are kept, and never older than the row they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import update

from service import answers
from service.answers import Answers
from service.errors import NotFound
from service.jobs.artifacts import Artifact
from service.jobs.leases import Claim, Report
from service.jobs.owners import Caller
from service.jobs.store import Jobs
from service.jobs.tables import Job, JobAttempt
from service.schemas import AttemptView, JobDetail
from tests.service.world import World

ERROR = {"code": "internal", "detail": "", "details": {}, "retryable": True, "stage": None, "attempt": 1}


class Counted(Jobs):
    """Jobs that count how often the whole of one is read."""

    looks = 0

    def look(self, job_id: str) -> tuple[Job, Sequence[JobAttempt]]:
        self.looks += 1
        return super().look(job_id)


@pytest.fixture
def counted(world: World) -> Counted:
    return Counted(world.parts.db, world.jobs._quotas)


def fresh(world: World, job_id: str) -> object:
    """What a user would be shown if nothing were kept."""
    job, attempts = world.jobs.look(job_id)
    view = JobDetail.of(job, attempts=[AttemptView.of(row) for row in attempts])
    return json.loads(view.model_dump_json())


def steps(world: World, job_id: str) -> list[Callable[[], object]]:
    """Everything a worker, a reaper and a user do to a job, each as a process of its own would."""
    leases, claims = world.leases, list[Claim]()
    report = Report(stage="score", progress=0.5, overall=0.2, message="m", metrics={"loss": 1.0})
    return [
        lambda: claims.append(world.claim(job_id)),
        lambda: leases.report(claims[-1], report),
        lambda: world.expire(job_id),
        lambda: world.parts.reaper.recover(job_id),
        lambda: claims.append(world.claim(job_id)),
        lambda: leases.release(claims[-1]),
        lambda: claims.append(world.claim(job_id)),
        lambda: leases.retry(claims[-1], ERROR, pause_s=0),
        lambda: claims.append(world.claim(job_id)),
        lambda: leases.renew(claims[-1]),
        lambda: world.jobs.cancel(job_id),
        lambda: world.jobs.cancel(job_id),
        lambda: leases.succeed(claims[-1], [Artifact("model.onnx", 1, "0" * 64)], {"summary": []}),
    ]


def test_every_visible_change_is_shown_at_once(world: World, counted: Counted) -> None:
    job_id = world.submit()
    kept, seen = Answers(counted), list[int]()
    for step in [lambda: None, *steps(world, job_id)]:
        step()
        answer = kept.now(world.jobs, job_id)
        assert json.loads(answer.body) == fresh(world, job_id)
        assert answer.ended == (json.loads(answer.body)["state"] == "succeeded")
        seen.append(answer.seq)
    assert seen == sorted(seen)
    assert counted.looks == len(set(seen)) < len(seen)  # what cannot be seen costs no look


def test_what_is_kept_for_the_owner_does_not_exist_for_others(world: World, counted: Counted) -> None:
    job_id = world.submit()
    with world.parts.db.write() as session:
        session.execute(update(Job).values(owner="ada"))
    kept = Answers(counted)
    assert kept.now(world.jobs.by(Caller("ada")), job_id).seq == 1
    for _ in range(2):
        with pytest.raises(NotFound):
            kept.now(world.jobs.by(Caller("bob")), job_id)
    assert kept.now(world.jobs.by(Caller("bob", everything=True)), job_id).seq == 1
    assert counted.looks == 1
    world.jobs.cancel(job_id)
    world.jobs.delete(job_id)
    with pytest.raises(NotFound):
        kept.now(world.jobs.by(Caller("ada")), job_id)


def test_no_more_is_kept_than_there_is_room_for(
    world: World, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST", 2)
    one, two, three = (world.submit() for _ in range(3))
    kept = Answers(counted)
    for job_id in (one, two, one, two, three, one):
        kept.now(world.jobs, job_id)
    assert counted.looks == 4
    monkeypatch.setattr(answers, "LARGEST_BYTES", 100)
    for _ in range(2):
        kept.now(world.jobs, two)
    assert counted.looks == 6
