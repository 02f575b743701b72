"""Whether the process lives, and whether the service can do its work."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from service.deps import BEARER, OwnPartsDep, Parts, PartsDep
from service.errors import Unavailable

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The parts a job depends on.

    Without a live worker the service is degraded: it accepts jobs, which wait.
    """

    status: Literal["ready", "degraded", "unavailable"]
    database: bool
    broker: bool
    disk: bool
    free_bytes: int
    workers: int


@router.get("/metrics", dependencies=[BEARER], response_class=PlainTextResponse)
def metrics(parts: PartsDep) -> Response:
    """Numbers for Prometheus; where there are keys, for the key of an administrator."""
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(response: Response, parts: OwnPartsDep) -> Readiness:
    """Say which parts work; 503 if no job could be accepted."""
    readiness = _look(parts)
    response.status_code = 503 if readiness.status == "unavailable" else 200
    return readiness


def _look(parts: Parts) -> Readiness:
    workers = _live_workers(parts)
    broker, free = parts.doorbell.answers(), _free_bytes(parts)
    disk = free > 0 and parts.blobs.writable()
    able = workers is not None and broker and disk
    return Readiness(
        status="unavailable" if not able else "ready" if workers else "degraded",
        database=workers is not None,
        broker=broker,
        disk=disk,
        free_bytes=max(0, free),
        workers=workers or 0,
    )


def _free_bytes(parts: Parts) -> int:
    """What is free; nothing if the data directory cannot be reached."""
    try:
        return parts.blobs.free()
    except Unavailable:
        return 0


def _live_workers(parts: Parts) -> int | None:
    """The number of live workers; None if the database does not answer."""
    try:
        return parts.presence.alive(parts.settings.worker_ttl_s)
    except SQLAlchemyError:
        return None
