"""Everything the job store consists of, for tests that need no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import update

from service import recipes
from service.deps import Parts, assemble
from service.jobs.leases import Claim, Leases
from service.jobs.order import JobOrder
from service.jobs.quotas import Quotas
from service.jobs.store import Jobs
from service.jobs.tables import Job
from service.settings import Settings
from sosp_core.config import Recipe
from tests.live import model_bytes, npz_bytes


@dataclass
class World:
    parts: Parts
    leases: Leases
    order: JobOrder

    @classmethod
    def open(cls, settings: Settings) -> Self:
        parts = assemble(settings)
        model = stage(parts, parts.models, model_bytes(), "onnx")
        data = stage(parts, parts.datasets, npz_bytes(), "npz")
        order = JobOrder(model_id=model, dataset_id=data, evaluation_id=None, recipe=recipes.dump(Recipe()))
        return cls(parts, Leases(parts.db, Quotas.of(settings), lease_s=settings.lease_s), order)

    @property
    def jobs(self) -> Jobs:
        return self.parts.jobs

    def submit(self) -> str:
        return self.jobs.submit(self.order)[0].id

    def claim(self, job_id: str) -> Claim:
        claim = self.leases.claim(job_id, "tester")
        assert claim is not None
        return claim

    def expire(self, job_id: str) -> None:
        """Let the lease of a running job run out now."""
        with self.parts.db.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(lease_until=0.0))

    def close(self) -> None:
        self.parts.doorbell.close()
        self.parts.db.close()


def stage(parts: Parts, library: Any, content: bytes, format: str) -> str:
    with parts.blobs.writer(limit=10**6) as writer:
        writer.write(content)
        row = library.add(writer.finish(), name="file", format=format)
    return str(row.id)
