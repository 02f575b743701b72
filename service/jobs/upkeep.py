"""Keeping the disk clean: what is too old, and files nothing refers to any more.

Any number of processes may do this at once, beside everything else that goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from service.errors import InUse, JobNotFinished, NotFound
from service.jobs import ids
from service.jobs.artifacts import Artifacts
from service.jobs.blobs import Blobs
from service.jobs.database import Database
from service.jobs.installation import require_tied
from service.jobs.library import Library, is_referenced, lock_on
from service.jobs.partials import Partials
from service.jobs.states import TERMINAL, JobState
from service.jobs.store import Jobs
from service.jobs.tables import Dataset, Job, Model, clock

# A file may be in place a moment before the row that names it.
GRACE_S = 3600.0


@dataclass
class Swept:
    """What one round removed."""

    jobs: int = 0
    uploads: int = 0
    blobs: int = 0
    attempts: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """One round is ``sweep``; 0 seconds mean for ever."""

    db: Database
    root: Path
    blobs: Blobs
    artifacts: Artifacts
    models: Library[Model]
    datasets: Library[Dataset]
    partials: Partials
    jobs: Jobs
    keep_jobs_s: float
    keep_uploads_s: float
    keep_checkpoints_s: float

    def sweep(self, grace_s: float = GRACE_S) -> Swept:
        """Remove what is too old, then what nothing refers to and is older than ``grace_s``.

        Raises:
            CannotStart: The files belong to another database.
        """
        require_tied(self.db, self.root)
        swept = Swept()
        for job_id in self._old_jobs():
            with suppress(NotFound, JobNotFinished):
                self.jobs.delete(job_id)
                self.artifacts.remove(job_id)
                swept.jobs += 1
        for library in (self.models, self.datasets):
            for id in self._old_uploads(library):
                with suppress(NotFound, InUse):
                    library.remove(id)
                    swept.uploads += 1
        swept.uploads += self.partials.collect(grace_s)
        self._sweep_attempts(swept, time.time() - grace_s)
        self._sweep_blobs(swept, time.time() - grace_s)
        self.blobs.remove_stale()
        return swept

    def _old_jobs(self) -> list[str]:
        if not self.keep_jobs_s:
            return []
        old = select(Job.id).where(Job.state.in_(TERMINAL), Job.finished_at < clock() - self.keep_jobs_s)
        with self.db.read() as session:
            return list(session.scalars(old))

    def _old_uploads(self, library: Library[Model] | Library[Dataset]) -> list[str]:
        if not self.keep_uploads_s:
            return []
        table = library.table
        old = select(table.id).where(table.created_at < clock() - self.keep_uploads_s)
        with self.db.read() as session:
            return list(session.scalars(old))

    def _sweep_attempts(self, swept: Swept, before: float) -> None:
        """Files of jobs that do not exist, and of attempts that are over and were not published."""
        for place in self.artifacts.places():
            if not ids.is_id(place.name, ids.JOB) or not _older(place, before):
                continue
            with self.db.read() as session:
                job = session.get(Job, place.name)
            if job is None:
                swept.bytes += _size(place)
                self.artifacts.remove(place.name)
                swept.attempts += 1
                continue
            self._sweep_checkpoints(swept, job)
            for fence in sorted(self.artifacts.fences(job.id)):
                # A later one than the row had when it was read has just begun.
                if fence > job.fence or (fence == job.fence and job.state is JobState.RUNNING):
                    continue
                published = fence == job.fence and job.state is JobState.SUCCEEDED
                freed = self.artifacts.leftovers(job.id, fence, published=published)
                if freed:
                    swept.attempts += 1
                    swept.bytes += freed
                    self.artifacts.tidy(job.id, fence)
                    if not published:
                        self.artifacts.withdraw(job.id, fence)

    def _sweep_checkpoints(self, swept: Swept, job: Job) -> None:
        """Those of a job that has ended: at once if a retry is not possible, else after a while."""
        if job.state not in TERMINAL or job.finished_at is None:
            return
        kept = job.state is not JobState.SUCCEEDED and time.time() < job.finished_at + self.keep_checkpoints_s
        if not kept:
            swept.bytes += self.artifacts.checkpointed(job.id)
            self.artifacts.drop_checkpoints(job.id)

    def _sweep_blobs(self, swept: Swept, before: float) -> None:
        with self.db.read() as session:
            known = {sha for table in (Model, Dataset) for sha in session.scalars(select(table.sha256))}
        for sha256, path in self.blobs.every():
            if sha256 in known or not _older(path, before):
                continue
            with self.db.write() as session:
                self.db.lock(session, lock_on(sha256))
                if not is_referenced(session, sha256) and _older(path, before):
                    swept.bytes += _size(path)
                    self.blobs.discard(sha256)
                    swept.blobs += 1


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        yield from (file for file in path.rglob("*") if not file.is_dir() or file.is_symlink())
    else:
        yield path
