"""How much one owner may have at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.errors import QueueFull, QuotaExceeded
from service.jobs.states import JobState
from service.jobs.tables import Dataset, Job, Model, PartialUpload
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """The limits that hold for every owner alike.

    To count and then add is only safe while ``Database.lock`` holds ``lock_of(owner)``.
    """

    stored_bytes: int
    queued_jobs: int
    running_jobs: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits that ``settings`` name."""
        return cls(
            stored_bytes=settings.max_stored_bytes,
            queued_jobs=settings.max_queued_jobs,
            running_jobs=settings.max_running_jobs,
        )

    def room(self, session: Session, owner: str) -> int:
        """Bytes ``owner`` may still add."""
        return self.stored_bytes - stored(session, owner)

    def require_room(self, session: Session, owner: str, size: int) -> None:
        """Raise ``QuotaExceeded`` unless ``owner`` may add ``size`` bytes."""
        if self.room(session, owner) < size:
            raise QuotaExceeded(limit=self.stored_bytes)

    def require_place(self, session: Session, owner: str) -> None:
        """Raise ``QueueFull`` unless ``owner`` may queue one more job."""
        if count(session, owner, JobState.QUEUED) >= self.queued_jobs:
            raise QueueFull(limit=self.queued_jobs)

    def may_run(self, session: Session, owner: str) -> bool:
        """Whether one more job of ``owner`` may run."""
        return count(session, owner, JobState.RUNNING) < self.running_jobs


def lock_of(owner: str) -> str:
    """The name to lock while an owner's share is counted."""
    return f"owner:{owner}"


def stored(session: Session, owner: str) -> int:
    """Bytes of uploads and results; equal files count each time, or their equality would show.

    Uploads that are not complete count with the size they were declared to have.
    """
    sums = [
        select(func.coalesce(func.sum(column), 0)).where(table.owner == owner)
        for table, column in ((Model, Model.size), (Dataset, Dataset.size), (Job, Job.artifact_bytes))
    ]
    begun = select(func.coalesce(func.sum(PartialUpload.size), 0))
    sums.append(begun.where(PartialUpload.owner == owner, PartialUpload.result_id.is_(None)))
    return sum(int(session.scalar(query) or 0) for query in sums)


def count(session: Session, owner: str, state: JobState) -> int:
    """How many jobs of ``owner`` are in ``state``."""
    query = select(func.count()).select_from(Job).where(Job.owner == owner, Job.state == state)
    return session.scalar(query) or 0
