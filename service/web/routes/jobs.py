"""``/jobs``: the list, and the page of each job, from its queue to its result."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service import paging
from service.deps import Parts, PartsDep
from service.jobs import ids
from service.jobs.reaper import announce
from service.jobs.states import JobState
from service.jobs.tables import Job
from service.schemas import AttemptView, JobView
from service.web.forms import FormDep
from service.web.rendering import render
from service.web.views.jobs import FILTERS, JobCard, earlier
from service.web.views.results import Result, downloads

PAGE = 30

router = APIRouter(prefix="/jobs", include_in_schema=False)


@router.get("")
def every(
    request: Request,
    parts: PartsDep,
    state: Annotated[list[JobState], Query()] = [],  # noqa: B006  read only
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List jobs, the newest first."""
    found = parts.jobs.page(limit=PAGE + 1, before=paging.decode(cursor, ids.JOB), states=state)
    rows, following = paging.cut(found, PAGE)
    return render(
        request,
        "jobs.html",
        cards=[JobCard.of(JobView.of(job), parts) for job in rows],
        filters=FILTERS,
        states=tuple(state),
        following=following,
    )


@router.get("/{job_id}")
def one(job_id: str, request: Request, parts: PartsDep) -> Response:
    """Show a job: how it goes, or what came of it."""
    job = parts.jobs.get(job_id)
    view = JobView.of(job)
    attempts = [AttemptView.of(row) for row in parts.jobs.attempts(job_id)]
    return render(
        request,
        "job.html",
        card=JobCard.of(view, parts),
        result=result_of(parts, job),
        downloads=downloads(view.artifacts),
        earlier=earlier(attempts),
        alive=parts.presence.alive(parts.settings.worker_ttl_s),
    )


def result_of(parts: Parts, job: Job) -> Result | None:
    """The report of a job that succeeded."""
    if job.state is not JobState.SUCCEEDED:
        return None
    return Result.read(parts.artifacts.path(job.id, job.fence, "report.json"))


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, form: FormDep, parts: PartsDep) -> Response:
    """Ask it to stop."""
    await run_in_threadpool(parts.jobs.cancel, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/{job_id}/retry")
async def retry(job_id: str, form: FormDep, parts: PartsDep) -> Response:
    """Queue the same again, and go there."""
    job, new = await run_in_threadpool(parts.jobs.retry, job_id)
    if new:
        await run_in_threadpool(announce, parts.db, parts.doorbell, job.id, job.queue)
    return RedirectResponse(f"/jobs/{job.id}", 303)


@router.post("/{job_id}/delete")
async def delete(job_id: str, form: FormDep, parts: PartsDep) -> Response:
    """Forget a job that has ended, with its files."""
    await run_in_threadpool(parts.jobs.delete, job_id)
    await run_in_threadpool(parts.artifacts.remove, job_id)
    return RedirectResponse("/jobs", 303)
