"""Waiting for jobs to change without holding a thread, or a query, for each who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.answers import Answer, Answers
from service.errors import NotFound
from service.jobs.states import TERMINAL
from service.jobs.store import Jobs
from service.schemas import EventView

LONGEST_WAIT_S = 60.0
POLL_S = 0.25


class Watch:
    """Looks at every watched job with one query, four times a second, while there are any.

    A thousand clients that each asked for themselves would be four thousand queries a second.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._waiting: dict[str, dict[asyncio.Future[None], int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def change(self, job_id: str, seen: int, wait_s: float) -> None:
        """Return when the job's ``seq`` may differ from ``seen``, it is gone, or the time is over."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(job_id, {})[future] = seen
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = asyncio.create_task(self._look())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(future, wait_s)
        finally:
            if waiting := self._waiting.get(job_id):
                waiting.pop(future, None)
                if not waiting:
                    del self._waiting[job_id]

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_S)
            try:
                seqs = await run_in_threadpool(self._jobs.seqs, list(self._waiting))
            except SQLAlchemyError as error:
                self._fail(error)
                continue
            for job_id, waiting in self._waiting.items():
                for future, seen in waiting.items():
                    if seqs.get(job_id) != seen and not future.done():
                        future.set_result(None)

    def _fail(self, error: SQLAlchemyError) -> None:
        """The database does not answer: whoever waits is told so."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)


async def changed(
    watch: Watch, answers: Answers, jobs: Jobs, job_id: str, known: int | None, wait_s: float
) -> Answer:
    """The job, once it differs from ``known`` (or from now), has ended, or time is over."""
    answer = await run_in_threadpool(answers.now, jobs, job_id)
    seen = answer.seq if known is None else known
    deadline = time.monotonic() + min(wait_s, LONGEST_WAIT_S)
    while answer.seq == seen and not answer.ended and (left := deadline - time.monotonic()) > 0:
        await watch.change(job_id, seen, left)
        answer = await run_in_threadpool(answers.now, jobs, job_id)
    return answer


async def events(watch: Watch, jobs: Jobs, job_id: str, after: int) -> AsyncIterator[EventView]:
    """Every event after number ``after``, as they come, up to the one that ends the job."""
    with suppress(NotFound):  # somebody deleted the job: there is nothing more to tell
        while True:
            for row in await run_in_threadpool(jobs.events, job_id, after):
                event, after = EventView.of(row), row.seq
                yield event
                if event.state in TERMINAL:
                    return
            await watch.change(job_id, after, LONGEST_WAIT_S)
            await run_in_threadpool(jobs.seq, job_id)
