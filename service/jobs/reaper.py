"""Finds what fell through: leases nobody renews, queued jobs no message announces.

Any number of reapers may run at once; every change is guarded by the condition it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.errors import WorkerLost
from service.jobs.database import Database
from service.jobs.failure import failure
from service.jobs.messages import Doorbell
from service.jobs.quotas import count
from service.jobs.records import end_attempt, move, requeue, rows_changed
from service.jobs.states import ANY, JobState
from service.jobs.tables import IdempotencyKey, Job, JobAttempt, Worker, clock

KEY_LIFETIME_S = 24 * 3600


class Waiting(NamedTuple):
    """A queued job, and when it was last announced."""

    id: str
    published_at: float | None
    queue: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class Reaper:
    """One round is ``sweep``."""

    db: Database
    doorbell: Doorbell
    max_attempts: int
    max_running_jobs: int
    republish_after_s: float
    worker_ttl_s: float

    def sweep(self) -> None:
        """Requeue or fail what lost its worker, then announce what waits unannounced."""
        for job_id in self._expired():
            self.recover(job_id)
        for job in self._unannounced():
            mine = self._take_turn(job.id, job.published_at)
            if mine and not announce(self.db, self.doorbell, job.id, job.queue):
                break
        with self.db.write() as session:
            old_key = IdempotencyKey.created_at < clock() - KEY_LIFETIME_S
            session.execute(delete(IdempotencyKey).where(old_key))
            session.execute(delete(Worker).where(Worker.seen_at < clock() - 10 * self.worker_ttl_s))

    def recover(self, job_id: str) -> None:
        """Take a job from a worker whose lease ran out."""
        expired = (Job.state == JobState.RUNNING, Job.lease_until < clock())
        with self.db.write() as session:
            job = session.scalar(select(Job).where(Job.id == job_id, *expired))
            if job is None:
                return
            lost = failure(WorkerLost(attempt=job.attempt), stage=job.stage, attempt=job.attempt)
            if job.attempt >= self.max_attempts and not job.cancel_requested:
                moved = move(session, job_id, JobState.FAILED, *expired, error=lost)
            else:
                moved = requeue(session, job_id, *expired)
            # The job first, as workers do: one that ends it at this moment keeps its own outcome.
            if moved is not None:
                end_attempt(session, moved, "lost", lost)

    def _expired(self) -> list[str]:
        query = select(Job.id).where(Job.state == JobState.RUNNING, Job.lease_until < clock())
        with self.db.read() as session:
            return list(session.scalars(query))

    def _unannounced(self) -> list[Waiting]:
        """Queued jobs whose message never left, or seems lost because a worker is idle all the same."""
        due = Job.not_before.is_(None) | (Job.not_before <= clock())
        queued = select(Job.id, Job.published_at, Job.queue, Job.owner)
        queued = queued.where(Job.state == JobState.QUEUED, due)
        queued = queued.order_by(Job.id)
        stale = queued.where(Job.published_at < clock() - self.republish_after_s)
        with self.db.read() as session:
            found = [Waiting(*row) for row in session.execute(queued.where(Job.published_at.is_(None)))]
            for queues in self._idle(session):
                # One for each idle worker: a long queue must not be announced twice over.
                theirs = stale.where(Job.queue.in_(queues), Job.id.not_in([job.id for job in found]))
                found += [Waiting(*row) for row in session.execute(theirs.limit(1))]
            may_run = {owner: self._may_run(session, owner) for owner in {job.owner for job in found}}
        return [job for job in found if _take_one(may_run, job.owner)]

    def _idle(self, session: Session) -> list[list[str]]:
        """For each live worker that runs nothing, the queues it takes jobs from."""
        held = select(JobAttempt.worker).join(Job, Job.id == JobAttempt.job_id)
        busy = held.where(Job.state == JobState.RUNNING, JobAttempt.fence == Job.fence)
        alive = select(Worker.queues).where(Worker.seen_at > clock() - self.worker_ttl_s)
        idle = alive.where(Worker.name.not_in(busy)).order_by(Worker.name)
        return [queues.split(",") for queues in session.scalars(idle)]

    def _may_run(self, session: Session, owner: str) -> int:
        """How many more jobs of ``owner`` may run."""
        return self.max_running_jobs - count(session, owner, JobState.RUNNING)

    def _take_turn(self, job_id: str, seen: float | None) -> bool:
        """Whether it is this reaper, and no other, that announces the job again."""
        unchanged = Job.published_at.is_(None) if seen is None else Job.published_at == seen
        mine = update(Job).where(Job.id == job_id, unchanged).values(published_at=clock())
        with self.db.write() as session:
            return rows_changed(session, mine) == 1


def _take_one(left: dict[str, int], owner: str) -> bool:
    left[owner] -= 1
    return left[owner] >= 0


def announce(db: Database, doorbell: Doorbell, job_id: str, queue: str = ANY) -> bool:
    """Ring for a queued job; False if the broker is away, and the next sweep shall try again."""
    if doorbell.ring(job_id, queue):
        return True
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(published_at=None))
    return False
