"""The service from Python, on an event loop: ``service.client`` with ``await``.

>>> async with AsyncClient("http://127.0.0.1:8000") as client:          # doctest: +SKIP
...     model, data = await client.upload_model("net.onnx"), await client.upload_dataset("images.npz")
...     jobs = [await client.submit(model, data, recipe=name) for name in ("quick", "balanced")]
...     await asyncio.gather(*(job.wait() for job in jobs))
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.client import PATIENCE_S
from service.flows import Flows, OnUpdate, UploadProgress
from service.jobs.states import JobState
from service.schemas import JobView, RecipeView, UploadView
from service.transport import AsyncTransport, Patience

__all__ = ["AsyncClient", "AsyncJob"]


class AsyncClient:
    """One service; see ``service.client.Client`` for arguments and errors."""

    def __init__(self, url: str, api_key: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._transport = AsyncTransport(url.rstrip("/"), api_key)
        self._flows = Flows(Patience(url.rstrip("/"), patience_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def upload_model(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload an ONNX file."""
        return await self._transport.run(self._flows.upload("/v1/models", Path(path), on_progress))

    async def upload_dataset(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload calibration or evaluation data."""
        return await self._transport.run(self._flows.upload("/v1/datasets", Path(path), on_progress))

    async def submit(
        self,
        model: UploadView | str,
        dataset: UploadView | str,
        *,
        evaluation: UploadView | str | None = None,
        recipe: Mapping[str, Any] | str | None = None,
        queue: str = "any",
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Queue a job; sent again after a lost connection, it is still one job."""
        flow = self._flows.submit(model, dataset, evaluation, recipe, queue, callback_url, idempotency_key)
        return self._job(await self._transport.run(flow))

    async def job(self, job_id: str) -> AsyncJob:
        """A job that was queued before."""
        return self._job(await self._transport.run(self._flows.look(job_id)))

    async def jobs(self, *states: JobState) -> AsyncIterator[JobView]:
        """Every job in one of the states, or in any; the newest first."""
        cursor: str | None = None
        while True:
            page = await self._transport.run(self._flows.page(states, cursor))
            for view in page.items:
                yield view
            if (cursor := page.next_cursor) is None:
                return

    async def recipes(self) -> list[RecipeView]:
        """The recipes that have names, and when to take which."""
        return await self._transport.run(self._flows.recipes())

    async def delete(self, thing: UploadView | JobView | AsyncJob, /) -> None:
        """Forget an upload no unfinished job uses, or a job that has ended."""
        await self._transport.run(self._flows.delete(thing.id))

    def _job(self, view: JobView) -> AsyncJob:
        return AsyncJob(self._transport, self._flows, view)


class AsyncJob:
    """A job of a service; ``view`` is how it was when last looked at."""

    def __init__(self, transport: AsyncTransport, flows: Flows, view: JobView) -> None:
        self._transport, self._flows, self.view = transport, flows, view

    @property
    def id(self) -> str:
        """The job's id."""
        return self.view.id

    async def refresh(self) -> JobView:
        """Look again."""
        self.view = await self._transport.run(self._flows.look(self.id))
        return self.view

    async def wait(self, timeout_s: float | None = None, *, on_update: OnUpdate | None = None) -> JobView:
        """Wait until the job has ended well; a restart of the service is sat out.

        Raises:
            JobFailed: It ended otherwise.
            WaitTimeout: It has not ended after ``timeout_s``.
            Unreachable: The service was away for longer than ``patience_s``.
        """
        return await self._transport.run(self._flows.wait(self, timeout_s, on_update))

    async def cancel(self) -> JobView:
        """Ask the job to stop; returns before it has."""
        self.view = await self._transport.run(self._flows.cancel(self.id))
        return self.view

    async def retry(self) -> AsyncJob:
        """Queue a new job like this one, which failed or was cancelled."""
        view = await self._transport.run(self._flows.retry(self.id))
        return AsyncJob(self._transport, self._flows, view)

    async def download(self, directory: str | os.PathLike[str], *, replace: bool = False) -> dict[str, Path]:
        """Fetch every artifact into ``directory``; see ``Job.download``."""
        view = await self.refresh()
        return await self._transport.run(self._flows.download(view, Path(directory), replace=replace))
