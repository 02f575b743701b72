"""How the whole installation is doing: numbers over all owners, for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from service.jobs.database import Database
from service.jobs.records import rows_changed
from service.jobs.states import JobState
from service.jobs.tables import Job, StageTotal, Worker, clock


@dataclass(frozen=True, kw_only=True)
class Counts:
    """One look."""

    jobs: Mapping[tuple[str, JobState], int]  # by queue and state
    oldest_s: Mapping[str, float]  # by queue: how long the oldest queued job has waited
    workers: Mapping[str, int]  # by queue; a worker counts for each it serves
    stages: Sequence[StageTotal]


@dataclass(frozen=True)
class Census:
    """Reads the numbers, and adds to the only ones that rows do not show."""

    db: Database

    def take(self, worker_ttl_s: float) -> Counts:
        """Count now."""
        jobs = select(Job.queue, Job.state, func.count()).group_by(Job.queue, Job.state)
        waiting = select(Job.queue, func.min(Job.created_at)).where(Job.state == JobState.QUEUED)
        alive = select(Worker.queues).where(Worker.seen_at > clock() - worker_ttl_s)
        with self.db.read() as session:
            now = session.scalar(select(clock())) or 0.0
            oldest = session.execute(waiting.group_by(Job.queue)).all()
            return Counts(
                jobs={(queue, state): number for queue, state, number in session.execute(jobs)},
                oldest_s={queue: max(0.0, now - since) for queue, since in oldest},
                workers=Counter(name for queues in session.scalars(alive) for name in queues.split(",")),
                stages=session.scalars(select(StageTotal).order_by(StageTotal.stage)).all(),
            )

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count stages that took so long."""
        with self.db.write() as session:
            self.db.lock(session, "stages")
            for stage, took in seconds.items():
                known = update(StageTotal).where(StageTotal.stage == stage)
                more = {"count": StageTotal.count + 1, "seconds": StageTotal.seconds + took}
                if rows_changed(session, known.values(**more)) == 0:
                    session.add(StageTotal(stage=stage, count=1, seconds=took))
