"""What routes are given: the parts of the running application."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from service.answers import Answers
from service.callbacks import Callbacks, Policy, key_of
from service.errors import ArgumentInvalid, CallbackForbidden, CannotStart, Unauthenticated
from service.jobs import installation, library
from service.jobs.artifacts import Artifacts
from service.jobs.blobs import Blobs
from service.jobs.census import Census
from service.jobs.database import Database
from service.jobs.inspections import Inspections
from service.jobs.keys import Keys
from service.jobs.leases import Presence
from service.jobs.library import Library
from service.jobs.messages import Doorbell
from service.jobs.owners import Caller
from service.jobs.partials import Partials
from service.jobs.quotas import Quotas
from service.jobs.reaper import Reaper
from service.jobs.store import Jobs
from service.jobs.tables import Dataset, Model
from service.jobs.upkeep import Upkeep
from service.metrics import Metrics
from service.settings import Settings
from service.watching import Watch
from service.web.session import Sessions

LONGEST_KEY = 255


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything one application holds."""

    settings: Settings
    db: Database
    blobs: Blobs
    artifacts: Artifacts
    inspections: Inspections
    doorbell: Doorbell
    keys: Keys
    sessions: Sessions
    models: Library[Model]
    datasets: Library[Dataset]
    partials: Partials
    jobs: Jobs
    presence: Presence
    metrics: Metrics
    reaper: Reaper
    upkeep: Upkeep
    callbacks: Callbacks
    watch: Watch
    answers: Answers

    def close(self) -> None:
        """Give back every connection."""
        self.doorbell.close()
        self.db.close()


def assemble(settings: Settings) -> Parts:
    """Open what the settings name; creates directories and tables that are missing."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = Database(settings.database_url)
    db.migrate()
    installation.tie(db, settings.data_dir)
    blobs = Blobs(settings.data_dir, floor=settings.free_space_floor_bytes)
    doorbell = Doorbell(settings.broker_url)
    quotas = Quotas.of(settings)
    models, datasets = library.models(db, blobs, quotas), library.datasets(db, blobs, quotas)
    partials = Partials(db, settings.data_dir / "uploads", blobs, quotas, settings.upload_ttl_s)
    artifacts, jobs = Artifacts(settings.data_dir), Jobs(db, quotas)
    keys = Keys(db)
    return Parts(
        settings=settings,
        db=db,
        blobs=blobs,
        artifacts=artifacts,
        inspections=Inspections(settings.data_dir),
        doorbell=doorbell,
        keys=keys,
        sessions=Sessions.at(settings.data_dir, keys),
        models=models,
        datasets=datasets,
        partials=partials,
        jobs=jobs,
        presence=Presence(db),
        metrics=Metrics(Census(db), blobs, settings.worker_ttl_s),
        reaper=Reaper(
            db=db,
            doorbell=doorbell,
            max_attempts=settings.max_attempts,
            max_running_jobs=settings.max_running_jobs,
            republish_after_s=settings.republish_after_s,
            worker_ttl_s=settings.worker_ttl_s,
        ),
        upkeep=Upkeep(
            db=db,
            root=settings.data_dir,
            blobs=blobs,
            artifacts=artifacts,
            models=models,
            datasets=datasets,
            partials=partials,
            jobs=jobs,
            keep_jobs_s=settings.keep_jobs_s,
            keep_uploads_s=settings.keep_uploads_s,
            keep_checkpoints_s=settings.keep_checkpoints_s,
        ),
        watch=Watch(jobs),
        answers=Answers(jobs),
        callbacks=Callbacks(db=db, policy=policy_of(settings), secret=settings.webhook_secret),
    )


def policy_of(settings: Settings) -> Policy:
    """Where callbacks may go; ``CannotStart`` if the settings name no such places."""
    try:
        key_of(settings.webhook_secret)
        return Policy.of(settings)
    except (ValueError, CallbackForbidden) as error:
        raise CannotStart(reason=f"webhook_origins, webhook_networks, webhook_secret: {error}") from error


# None of these waits for anything, and what is not async is sent to a thread and back.
async def own_parts(request: Request) -> Parts:
    """The parts of the application that serves this request, for what shows nobody's things."""
    found: Parts = request.app.state.parts
    return found


async def parts(request: Request) -> Parts:
    """The same as far as the caller may see them; what belongs to others is not there."""
    found, caller = await own_parts(request), request.scope.get("caller")
    if not isinstance(caller, Caller):  # ``service.guard`` did not look at this request
        raise Unauthenticated(reason="this takes an API key")
    return replace(
        found,
        models=found.models.by(caller),
        datasets=found.datasets.by(caller),
        partials=found.partials.by(caller),
        jobs=found.jobs.by(caller),
    )


async def idempotency_key(key: Annotated[str | None, Header(alias="Idempotency-Key")] = None) -> str | None:
    """The client's own name for this request, if it gave one."""
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise ArgumentInvalid(
            field="Idempotency-Key", reason=f"expected 1 to {LONGEST_KEY} printable ASCII characters"
        )
    return key


# For the documentation alone: ``service.guard`` looks at keys before a body is read.
BEARER = Security(HTTPBearer(auto_error=False, description="As made by `sosp keys create`."))
PartsDep = Annotated[Parts, Depends(parts)]
OwnPartsDep = Annotated[Parts, Depends(own_parts)]
KeyDep = Annotated[str | None, Depends(idempotency_key)]
