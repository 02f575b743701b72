"""The one way a job's row changes: guarded, numbered, and with an event that tells of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, CursorResult, select, update
from sqlalchemy.orm import Session

from service.jobs.states import TERMINAL, JobState, sources
from service.jobs.tables import Delivery, Job, JobAttempt, JobEvent, clock

TOLD = ("state", "stage", "progress", "overall", "eta_s", "message", "metrics", "error", "attempt")


def change(
    session: Session, job_id: str, *guards: ColumnElement[bool], kind: str, **values: Any
) -> Job | None:
    """Write ``values`` if every guard holds, and append an event; None if one does not."""
    statement = update(Job).where(Job.id == job_id, *guards)
    statement = statement.values(seq=Job.seq + 1, updated_at=clock(), **values)
    if rows_changed(session, statement.execution_options(synchronize_session=False)) == 0:
        return None
    job = session.get_one(Job, job_id, populate_existing=True)
    announce(session, job, kind)
    return job


def move(
    session: Session, job_id: str, to: JobState, *guards: ColumnElement[bool], **values: Any
) -> Job | None:
    """Bring a job into state ``to`` from any state that may lead there; None if it is in another."""
    if to in TERMINAL:
        values |= {"finished_at": clock(), "eta_s": None}
    if to is not JobState.RUNNING:
        values |= {"lease_until": None}
    job = change(session, job_id, Job.state.in_(sources(to)), *guards, kind="state", state=to, **values)
    if job is not None and job.callback_url is not None and to in TERMINAL:
        session.add(Delivery(job_id=job.id, due_at=job.updated_at))
    return job


def requeue(session: Session, job_id: str, *guards: ColumnElement[bool], **values: Any) -> Job | None:
    """Bring a job back into the queue, for somebody to announce; end it if its user asked for that.

    A queued job is cancelled at once: a request that was made while it ran would be heard by nobody.
    """
    unasked = Job.cancel_requested.is_(False)
    waiting = move(session, job_id, JobState.QUEUED, unasked, *guards, published_at=None, **values)
    return waiting or move(session, job_id, JobState.CANCELLED, *guards, error=None)


def announce(session: Session, job: Job, kind: str) -> None:
    """Append the event that shows the job as it now is."""
    data = {name: getattr(job, name) for name in TOLD}
    session.add(JobEvent(job_id=job.id, seq=job.seq, kind=kind, at=job.updated_at, data=data))


def end_attempt(session: Session, job: Job, outcome: str, error: dict[str, Any] | None = None) -> None:
    """Record how the current attempt of ``job`` ended."""
    attempt = session.get_one(JobAttempt, (job.id, job.fence))
    attempt.outcome, attempt.error = outcome, error
    attempt.ended_at = session.scalar(select(clock()))


def rows_changed(session: Session, statement: Any) -> int:
    """Run an UPDATE or DELETE and count the rows it met."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount
