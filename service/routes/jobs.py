"""Jobs: ``/v1/jobs``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service import paging, watching
from service.deps import KeyDep, KnownSeqDep, Parts, PartsDep
from service.jobs import ids
from service.jobs.reaper import announce
from service.jobs.states import TERMINAL
from service.jobs.tables import Job
from service.schemas import AttemptView, JobDetail, JobPage, JobRequest, JobsQuery, JobView

RETRY_AFTER_S = "2"

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


def _headers(job: Job) -> dict[str, str]:
    wait = {} if job.state in TERMINAL else {"Retry-After": RETRY_AFTER_S}
    return {"ETag": f'"{job.seq}"', "Cache-Control": "no-cache", **wait}


@router.post("", status_code=202)
def submit(request: JobRequest, response: Response, key: KeyDep, parts: PartsDep) -> JobView:
    """Queue a compression; returns at once."""
    order = request.to_order()
    if order.callback_url is not None:
        parts.callbacks.policy.require(order.callback_url)
    return _accepted(parts, response, *parts.jobs.submit(order, key))


@router.post("/{job_id}/retry", status_code=202)
def retry(job_id: str, response: Response, key: KeyDep, parts: PartsDep) -> JobView:
    """Queue a new job like one that failed or was cancelled."""
    return _accepted(parts, response, *parts.jobs.retry(job_id, key))


def _accepted(parts: Parts, response: Response, job: Job, new: bool) -> JobView:
    if new:
        announce(parts.db, parts.doorbell, job.id, job.queue)
    response.headers.update({"Location": f"/v1/jobs/{job.id}", **_headers(job)})
    return JobView.of(job)


@router.get("")
def page(query: Annotated[JobsQuery, Query()], parts: PartsDep) -> JobPage:
    """List jobs, the newest first."""
    before = paging.decode(query.cursor, ids.JOB)
    found = parts.jobs.page(limit=query.limit + 1, before=before, states=query.state)
    rows, cursor = paging.cut(found, query.limit)
    return JobPage(items=[JobView.of(job) for job in rows], next_cursor=cursor)


@router.get(
    "/{job_id}",
    response_model=JobDetail,
    responses={304: {"description": "Nothing changed since If-None-Match."}},
)
async def get(
    job_id: str,
    response: Response,
    parts: PartsDep,
    known: KnownSeqDep,
    wait: Annotated[float, Query(ge=0, allow_inf_nan=False, description="Seconds; at most 60 count.")] = 0,
) -> JobDetail | Response:
    """Show a job; with ``wait``, only once it has changed or that many seconds have passed."""
    job, attempts = await watching.changed(parts.watch, parts.jobs, job_id, known, wait)
    if job.seq == known:
        return Response(status_code=304, headers=_headers(job))
    response.headers.update(_headers(job))
    return JobDetail.of(job, attempts=[AttemptView.of(row) for row in attempts])


def existing(job_id: str, parts: PartsDep) -> Job:
    """The job, found before a stream about it begins."""
    return parts.jobs.get(job_id)


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def events(
    job: Annotated[Job, Depends(existing)],
    parts: PartsDep,
    last_event_id: Annotated[int, Header(ge=0, le=2**31)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Stream what happens to a job, from its first event or after ``Last-Event-ID``, until it ends."""
    async for event in watching.events(parts.watch, parts.jobs, job.id, last_event_id):
        yield ServerSentEvent(event=event.kind, id=str(event.seq), data=event)


@router.post("/{job_id}/cancel", status_code=202, responses={200: {"model": JobView}})
def cancel(job_id: str, response: Response, parts: PartsDep) -> JobView:
    """Ask a job to stop; asking again, or too late, does no harm."""
    job = parts.jobs.cancel(job_id)
    response.status_code = 200 if job.state in TERMINAL else 202
    response.headers.update(_headers(job))
    return JobView.of(job)


@router.delete("/{job_id}", status_code=204)
def delete(job_id: str, parts: PartsDep) -> None:
    """Forget a job that has ended, and its artifacts."""
    parts.jobs.delete(job_id)
    parts.artifacts.remove(job_id)
