"""Jobs as a worker sees them: claim one, keep it, report on it, let it go.

Whoever claims a job gets a *fence*, a number that grows with every claim. Each later write names
it; a worker that lost its lease meets no row and learns so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from service.jobs.artifacts import Artifact
from service.jobs.database import Database
from service.jobs.quotas import Quotas, lock_of
from service.jobs.records import change, end_attempt, move, requeue, rows_changed
from service.jobs.states import ANY, JobState
from service.jobs.tables import Dataset, Job, JobAttempt, Model, Worker, clock

MOST_ANCESTORS = 20


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that is ours for as long as the lease is renewed.

    Attributes:
        ancestors: The jobs it is a retry of, the nearest first.
        traceparent: The span of the request that made the job.
    """

    job_id: str
    fence: int
    attempt: int
    recipe: dict[str, Any]
    model: Model
    dataset: Dataset
    evaluation: Dataset | None
    ancestors: tuple[str, ...] = ()
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far a running job is."""

    stage: str
    progress: float
    overall: float
    message: str = ""
    eta_s: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Leases:
    """The job table, seen from inside a worker."""

    def __init__(self, db: Database, quotas: Quotas, *, lease_s: float) -> None:
        self._db, self._quotas, self._lease_s = db, quotas, lease_s

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Take a queued job.

        None if it is not queued, as for the second delivery of a message, or must wait: after a
        failed attempt, or while its owner has as many running as allowed. The reaper announces it
        when its time has come.
        """
        with self._db.write() as session:
            owner = session.scalar(select(Job.owner).where(Job.id == job_id))
            if owner is None:
                return None
            self._db.lock(session, lock_of(owner))
            if not self._quotas.may_run(session, owner):
                queued = update(Job).where(Job.id == job_id, Job.state == JobState.QUEUED)
                session.execute(queued.values(published_at=None))
                return None
            job = move(
                session,
                job_id,
                JobState.RUNNING,
                Job.not_before.is_(None) | (Job.not_before <= clock()),
                fence=Job.fence + 1,
                attempt=Job.attempt + 1,
                lease_until=clock() + self._lease_s,
                not_before=None,
                started_at=func.coalesce(Job.started_at, clock()),
                **_nothing_yet(),
            )
            if job is None:
                return None
            session.add(JobAttempt(job_id=job.id, fence=job.fence, worker=worker, started_at=job.updated_at))
            return _claim(session, job)

    def decline(self, job_id: str) -> None:
        """Have a queued job announced again, to somebody else."""
        queued = update(Job).where(Job.id == job_id, Job.state == JobState.QUEUED)
        with self._db.write() as session:
            session.execute(queued.values(published_at=None))

    def renew(self, claim: Claim) -> bool:
        """Extend the lease; False if it is no longer ours."""
        extend = update(Job).where(Job.id == claim.job_id, *_held(claim))
        with self._db.write() as session:
            return rows_changed(session, extend.values(lease_until=clock() + self._lease_s)) == 1

    def cancel_requested(self, claim: Claim) -> bool:
        """Whether the user asked to stop."""
        with self._db.read() as session:
            return bool(session.scalar(select(Job.cancel_requested).where(Job.id == claim.job_id)))

    def report(self, claim: Claim, report: Report) -> bool:
        """Show progress; False if the lease is no longer ours."""
        with self._db.write() as session:
            changed = change(session, claim.job_id, *_held(claim), kind="progress", **report.__dict__)
        return changed is not None

    def succeed(self, claim: Claim, artifacts: list[Artifact], metrics: Mapping[str, Any]) -> bool:
        """End the job well; False if the lease is no longer ours.

        May be repeated: whoever did not hear whether it was recorded is told that it was.
        """
        values = {
            "artifacts": [artifact.record() for artifact in artifacts],
            "artifact_bytes": sum(artifact.size for artifact in artifacts),
            "metrics": dict(metrics),
            "progress": 1.0,
            "overall": 1.0,
            "message": "",
            "error": None,
        }
        return self._end(claim, JobState.SUCCEEDED, "succeeded", **values) or self._has_succeeded(claim)

    def fail(self, claim: Claim, error: dict[str, Any]) -> bool:
        """End the job for good; False if the lease is no longer ours."""
        return self._end(claim, JobState.FAILED, "failed", error=error)

    def retry(self, claim: Claim, error: dict[str, Any], *, pause_s: float) -> bool:
        """Put the job back after an attempt that failed; False if the lease is no longer ours.

        What made it fail may need time to pass: nobody takes it up before ``pause_s`` are over. If the
        user asked to stop meanwhile, it ends instead.
        """
        return self._end(claim, JobState.QUEUED, "failed", error=error, not_before=clock() + pause_s)

    def cancel(self, claim: Claim) -> bool:
        """End the job as the user asked; False if the lease is no longer ours."""
        return self._end(claim, JobState.CANCELLED, "cancelled", error=None)

    def release(self, claim: Claim) -> bool:
        """Put the job back untried, as a worker does that shuts down; end it if the user asked for that."""
        return self._end(claim, JobState.QUEUED, "released", attempt=Job.attempt - 1)

    def _has_succeeded(self, claim: Claim) -> bool:
        ours = Job.id == claim.job_id, Job.fence == claim.fence, Job.state == JobState.SUCCEEDED
        with self._db.read() as session:
            return session.scalar(select(Job.id).where(*ours)) is not None

    def _end(self, claim: Claim, to: JobState, outcome: str, **values: Any) -> bool:
        with self._db.write() as session:
            if to is JobState.QUEUED:
                job = requeue(session, claim.job_id, *_held(claim), **values)
            else:
                job = move(session, claim.job_id, to, *_held(claim), **values)
            if job is None:
                return False
            end_attempt(session, job, outcome, values.get("error"))
            return True


class Presence:
    """Which workers are alive."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def beat(self, worker: str, queues: Sequence[str] = (ANY,)) -> None:
        """Say that ``worker`` is alive, and which queues it serves."""
        with self._db.write() as session:
            now = session.scalar(select(clock()))
            session.merge(Worker(name=worker, seen_at=now, queues=",".join(queues)))

    def leave(self, worker: str) -> None:
        """Say that ``worker`` ends."""
        with self._db.write() as session:
            session.execute(delete(Worker).where(Worker.name == worker))

    def alive(self, within_s: float) -> int:
        """The number of workers heard of lately."""
        query = select(func.count()).select_from(Worker).where(Worker.seen_at > clock() - within_s)
        with self._db.read() as session:
            return session.scalar(query) or 0


def _held(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return Job.state == JobState.RUNNING, Job.fence == claim.fence


def _nothing_yet() -> dict[str, Any]:
    return {"stage": None, "progress": 0.0, "overall": 0.0, "eta_s": None, "message": "", "metrics": {}}


def _claim(session: Session, job: Job) -> Claim:
    return Claim(
        job_id=job.id,
        fence=job.fence,
        attempt=job.attempt,
        recipe=job.recipe,
        model=session.get_one(Model, job.model_id),
        dataset=session.get_one(Dataset, job.dataset_id),
        evaluation=None if job.evaluation_id is None else session.get_one(Dataset, job.evaluation_id),
        ancestors=tuple(_ancestors(session, job)),
        traceparent=job.traceparent,
    )


def _ancestors(session: Session, job: Job) -> Iterator[str]:
    older = job.retry_of
    for _ in range(MOST_ANCESTORS):
        if older is None:
            return
        yield older
        older = session.scalar(select(Job.retry_of).where(Job.id == older))
