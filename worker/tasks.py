"""The one Celery task: an id in, nothing out. All state is in the job store."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from service.jobs import ids
from service.jobs.artifacts import Artifacts
from service.jobs.blobs import Blobs
from service.jobs.census import Census
from service.jobs.database import Database
from service.jobs.leases import Leases
from service.jobs.messages import RUN_JOB
from service.jobs.quotas import Quotas
from service.settings import Settings
from service.tracing import Traces
from worker.receipt import Settled
from worker.supervisor import Supervisor


def register(app: Celery, settings: Settings, *, worker: str, stopping: Callable[[], bool]) -> None:
    """Teach ``app`` to run jobs."""

    def run_job(job_id: str) -> None:
        if not ids.is_id(job_id, ids.JOB):
            return
        # Opened here, in the pool's process: handles must not be carried across its fork.
        db, traces = Database(settings.database_url), Traces.of(settings, "sosp-worker")
        try:
            supervisor(settings, db, worker=worker, stopping=stopping, traces=traces).run(job_id)
        finally:
            db.close()
            traces.close()

    app.task(name=RUN_JOB, Request=Settled)(run_job)


def supervisor(
    settings: Settings, db: Database, *, worker: str, stopping: Callable[[], bool], traces: Traces
) -> Supervisor:
    """The supervisor these settings describe."""
    return Supervisor(
        settings=settings,
        leases=Leases(db, Quotas.of(settings), lease_s=settings.lease_s),
        census=Census(db),
        blobs=Blobs(settings.data_dir, floor=settings.free_space_floor_bytes),
        artifacts=Artifacts(settings.data_dir),
        worker=worker,
        stopping=stopping,
        traces=traces,
    )
