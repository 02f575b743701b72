"""Jobs: ``/v1/jobs``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service import paging, watching
from service.answers import Answer
from service.deps import KeyDep, Parts, PartsDep
from service.jobs import ids
from service.jobs.reaper import announce
from service.jobs.states import TERMINAL
from service.jobs.tables import Job
from service.schemas import JobDetail, JobPage, JobRequest, JobsQuery, JobView

RETRY_AFTER_S = "2"

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


def _known(if_none_match: str | None) -> int | None:
    """The ``seq`` of the job as the client has it."""
    tag = (if_none_match or "").removeprefix("W/").strip('"')
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < 16 else None


def _headers(seq: int, ended: bool) -> dict[str, str]:
    wait = {} if ended else {"Retry-After": RETRY_AFTER_S}
    return {"ETag": f'"{seq}"', "Cache-Control": "no-cache", **wait}


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
    headers = _headers(job.seq, job.state in TERMINAL)
    response.headers.update({"Location": f"/v1/jobs/{job.id}", **headers})
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
    parts: PartsDep,
    wait: Annotated[float, Query(ge=0, allow_inf_nan=False, description="Seconds; at most 60 count.")] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Show a job; with ``wait``, only once it has changed or that many seconds have passed."""
    known = _known(if_none_match)
    answer = await watching.changed(parts.watch, parts.answers, parts.jobs, job_id, known, wait)
    headers = _headers(answer.seq, answer.ended)
    if answer.seq == known:
        return Response(status_code=304, headers=headers)
    return Response(answer.body, headers=headers, media_type="application/json")


def found(job_id: str, parts: PartsDep) -> Answer:
    """A job as it is before a stream about it begins."""
    return parts.answers.now(parts.jobs, job_id)


def heard(
    answer: Annotated[Answer, Depends(found)], last_event_id: Annotated[int, Header(ge=0, le=2**31)] = 0
) -> int:
    """The last event the client has, if there is more to come.

    Only 204 keeps a browser's ``EventSource`` from asking again.
    """
    if answer.ended and last_event_id >= answer.seq:
        raise HTTPException(204)
    return min(last_event_id, answer.seq)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={204: {"description": "The job has ended, and Last-Event-ID is its last event."}},
)
async def events(
    job_id: str, parts: PartsDep, after: Annotated[int, Depends(heard)]
) -> AsyncIterator[ServerSentEvent]:
    """Stream what happens to a job, from its first event or after ``Last-Event-ID``, until it ends."""
    async for event in watching.events(parts.watch, parts.jobs, job_id, after):
        yield ServerSentEvent(event=event.kind, id=str(event.seq), data=event)


@router.post("/{job_id}/cancel", status_code=202, responses={200: {"model": JobView}})
def cancel(job_id: str, response: Response, parts: PartsDep) -> JobView:
    """Ask a job to stop; asking again, or too late, does no harm."""
    job = parts.jobs.cancel(job_id)
    ended = job.state in TERMINAL
    response.status_code = 200 if ended else 202
    response.headers.update(_headers(job.seq, ended))
    return JobView.of(job)


@router.delete("/{job_id}", status_code=204)
def delete(job_id: str, parts: PartsDep) -> None:
    """Forget a job that has ended, and its artifacts."""
    parts.jobs.delete(job_id)
    parts.artifacts.remove(job_id)
