"""Waiting for a job to change without holding a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from service.errors import NotFound
from service.jobs.states import TERMINAL
from service.jobs.store import Jobs
from service.jobs.tables import Job
from service.schemas import EventView

LONGEST_WAIT_S = 60.0
POLL_S = 0.25


async def changed(jobs: Jobs, job_id: str, known: int | None, wait_s: float) -> Job:
    """The job, once it differs from ``known`` (or from now), has ended, or ``wait_s`` have passed."""
    job = await run_in_threadpool(jobs.get, job_id)
    seen = job.seq if known is None else known
    deadline = time.monotonic() + min(wait_s, LONGEST_WAIT_S)
    while job.seq == seen and job.state not in TERMINAL and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        if await run_in_threadpool(jobs.seq, job_id) != seen:
            job = await run_in_threadpool(jobs.get, job_id)
    return job


async def events(jobs: Jobs, job_id: str, after: int) -> AsyncIterator[EventView]:
    """Every event after number ``after``, as they come, up to the one that ends the job."""
    with suppress(NotFound):  # somebody deleted the job: there is nothing more to tell
        while True:
            for row in await run_in_threadpool(jobs.events, job_id, after):
                event, after = EventView.of(row), row.seq
                yield event
                if event.state in TERMINAL:
                    return
            await asyncio.sleep(POLL_S)
            await run_in_threadpool(jobs.seq, job_id)
