"""Jobs as their users see them: submit, look, list, cancel, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from service import tracing
from service.errors import IdempotencyMismatch, JobNotFailed, JobNotFinished, NotFound
from service.jobs import ids
from service.jobs.database import Database
from service.jobs.library import lock_on
from service.jobs.order import JobOrder
from service.jobs.owners import OURSELVES, Caller
from service.jobs.quotas import Quotas, lock_of
from service.jobs.records import announce, change, move
from service.jobs.states import TERMINAL, JobState
from service.jobs.tables import Dataset, IdempotencyKey, Job, JobAttempt, JobEvent, Model, clock

MOST_IN_QUERY = 1000
# Built once, since it is asked more often than all others.
SEQ = select(Job.seq, Job.owner).where(Job.id == bindparam("id"))


class Jobs:
    """The job table, seen from outside a worker."""

    def __init__(self, db: Database, quotas: Quotas, caller: Caller = OURSELVES) -> None:
        self._db, self._quotas, self._caller = db, quotas, caller

    def by(self, caller: Caller) -> Jobs:
        """The same, as ``caller`` sees it."""
        return Jobs(self._db, self._quotas, caller)

    def submit(self, order: JobOrder, key: str | None = None) -> tuple[Job, bool]:
        """Queue a job; with a ``key`` that was used before, find the job it made then.

        Returns:
            The job, and whether it is new.

        Raises:
            NotFound: A model or dataset does not exist.
            IdempotencyMismatch: ``key`` was used for another order.
            QueueFull: The caller has too many jobs waiting.
        """
        return self._submit(order, key, self._caller.owner)

    def _submit(self, order: JobOrder, key: str | None, owner: str) -> tuple[Job, bool]:
        """For ``owner``; a ``key`` is its sender's, whoever that is."""
        sender = self._caller.owner
        with self._db.write() as session:
            self._db.lock(session, lock_of(sender), lock_of(owner), *map(lock_on, order.uploads()))
            if key is not None and (known := session.get(IdempotencyKey, (sender, key))) is not None:
                if known.fingerprint != order.fingerprint():
                    raise IdempotencyMismatch(key=key)
                return session.get_one(Job, known.job_id), False
            self._quotas.require_place(session, owner)
            job = self._insert(session, order, owner)
            if key is not None:
                session.flush()
                session.add(_remember(sender, key, order, job))
            return job, True

    def retry(self, job_id: str, key: str | None = None) -> tuple[Job, bool]:
        """Queue the same again after a failure or a cancellation; what ended stays ended.

        Whoever asks, the new job belongs to the owner of the old one.

        Raises:
            JobNotFailed: It runs, waits, or has succeeded.
            NotFound: It does not exist, or its uploads no longer do.
            QueueFull: Its owner has too many jobs waiting.
        """
        old = self.get(job_id)
        if old.state not in {JobState.FAILED, JobState.CANCELLED}:
            raise JobNotFailed(id=job_id, state=old.state)
        order = JobOrder(
            model_id=old.model_id,
            dataset_id=old.dataset_id,
            evaluation_id=old.evaluation_id,
            recipe=old.recipe,
            queue=old.queue,
            retry_of=old.id,
            callback_url=old.callback_url,
        )
        return self._submit(order, key, old.owner)

    def get(self, job_id: str) -> Job:
        """The job of that id."""
        with self._db.read() as session:
            return self._get(session, job_id)

    def look(self, job_id: str) -> tuple[Job, Sequence[JobAttempt]]:
        """The job of that id and every attempt at it, as they were at one moment."""
        with self._db.read() as session:
            job = self._get(session, job_id)
            return job, session.scalars(_attempts(job_id)).all()

    def seq(self, job_id: str) -> int:
        """The job's current ``seq``: the cheapest way to see whether anything changed."""
        for row in self._db.rows(SEQ, id=job_id) if ids.is_id(job_id, ids.JOB) else ():
            if self._caller.may_see(row.owner):
                return int(row.seq)
        raise NotFound(kind="job", id=job_id)

    def seqs(self, job_ids: Sequence[str]) -> dict[str, int]:
        """``seq`` of each of the jobs that exists."""
        found: dict[str, int] = {}
        with self._db.read() as session:
            for first in range(0, len(job_ids), MOST_IN_QUERY):
                some = select(Job.id, Job.seq).where(Job.id.in_(job_ids[first : first + MOST_IN_QUERY]))
                found |= {row.id: row.seq for row in session.execute(some.where(self._caller.sees(Job)))}
        return found

    def attempts(self, job_id: str) -> Sequence[JobAttempt]:
        """Every attempt at a job, the first one first."""
        with self._db.read() as session:
            return session.scalars(_attempts(job_id)).all()

    def events(self, job_id: str, after: int, limit: int = 500) -> Sequence[JobEvent]:
        """What happened to a job after event number ``after``."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
        with self._db.read() as session:
            return session.scalars(query.order_by(JobEvent.seq).limit(limit)).all()

    def page(
        self, *, limit: int, before: str | None = None, states: Sequence[JobState] = ()
    ) -> Sequence[Job]:
        """The newest jobs older than ``before``, in the given states if there are any."""
        query = select(Job).where(self._caller.sees(Job)).order_by(Job.id.desc()).limit(limit)
        if before is not None:
            query = query.where(Job.id < before)
        if states:
            query = query.where(Job.state.in_(states))
        with self._db.read() as session:
            return session.scalars(query).all()

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop: at once if it is queued, soon if it runs, nothing if it has ended."""
        with self._db.write() as session:
            # Held: a worker that puts it back at this moment does so before, or hears of us.
            job = self._get(session, job_id, hold=True)
            if job.state in TERMINAL or job.cancel_requested:
                return job
            asked = {"cancel_requested": True}
            if job.state is JobState.QUEUED:
                return move(session, job_id, JobState.CANCELLED, **asked) or job
            return change(session, job_id, kind="state", **asked) or job

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended."""
        with self._db.write() as session:
            job = self._get(session, job_id)
            if job.state not in TERMINAL:
                raise JobNotFinished(id=job_id, state=job.state)
            session.delete(job)

    def _get(self, session: Session, job_id: str, *, hold: bool = False) -> Job:
        query = select(Job).where(Job.id == job_id, self._caller.sees(Job))
        query = query.with_for_update() if hold else query
        job = session.scalar(query) if ids.is_id(job_id, ids.JOB) else None
        if job is None:
            raise NotFound(kind="job", id=job_id)
        return job

    def _insert(self, session: Session, order: JobOrder, owner: str) -> Job:
        self._require(session, Model, "model", order.model_id)
        self._require(session, Dataset, "dataset", order.dataset_id)
        if order.evaluation_id is not None:
            self._require(session, Dataset, "dataset", order.evaluation_id)
        now = session.scalar(select(clock()))
        # Whoever submits also announces; were it to die in between, the reaper would, a little later.
        times = {"created_at": now, "updated_at": now, "published_at": now}
        theirs = {"owner": owner, "traceparent": tracing.parent()}
        job = Job(id=ids.new(ids.JOB), **theirs, **times, **asdict(order))
        session.add(job)
        session.flush()
        announce(session, job, "state")
        return job

    def _require(self, session: Session, table: type[Model] | type[Dataset], kind: str, id: str) -> None:
        query = select(table.id).where(table.id == id, self._caller.sees(table))
        if session.scalar(query) is None:
            raise NotFound(kind=kind, id=id)


def _attempts(job_id: str) -> Select[JobAttempt]:
    return select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(JobAttempt.fence)


def _remember(sender: str, key: str, order: JobOrder, job: Job) -> IdempotencyKey:
    return IdempotencyKey(
        owner=sender,
        key=key,
        fingerprint=order.fingerprint(),
        job_id=job.id,
        created_at=job.created_at,
    )
