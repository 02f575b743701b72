"""What a worker sees that doubts whether it still hears: jobs that are announced, and nobody takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from service.jobs.database import Database
from service.jobs.states import JobState
from service.jobs.tables import Job, JobAttempt, clock

# The oldest are announced first, and again and again while a worker is idle.
MOST = 100


@dataclass(frozen=True)
class Look:
    """One look at the job table.

    Attributes:
        busy: The worker holds a job.
        waiting: Jobs it may take at once, each with the time when it was last announced.
    """

    busy: bool
    waiting: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lookout:
    """The job table, seen by one worker."""

    db: Database
    worker: str
    queues: Sequence[str]
    max_running_jobs: int

    def look(self) -> Look:
        """See what is so now."""
        with self.db.read() as session:
            if self._busy(session):
                return Look(busy=True)
            waiting = session.execute(self._waiting())
            return Look(busy=False, waiting={id: at for id, at in waiting if at is not None})

    def _busy(self, session: Session) -> bool:
        held = select(Job.id).join(JobAttempt, JobAttempt.job_id == Job.id)
        held = held.where(JobAttempt.worker == self.worker, JobAttempt.fence == Job.fence)
        return session.scalar(held.where(Job.state == JobState.RUNNING).limit(1)) is not None

    def _waiting(self) -> Select[str, float | None]:
        due = Job.not_before.is_(None) | (Job.not_before <= clock())
        running = select(Job.owner).where(Job.state == JobState.RUNNING).group_by(Job.owner)
        at_their_limit = running.having(func.count() >= self.max_running_jobs)
        announced = select(Job.id, Job.published_at).where(Job.published_at.is_not(None))
        queued = announced.where(Job.state == JobState.QUEUED, Job.queue.in_(self.queues), due)
        return queued.where(Job.owner.not_in(at_their_limit)).order_by(Job.id).limit(MOST)
