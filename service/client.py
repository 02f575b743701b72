"""The service from Python; ``service.async_client`` is the same on an event loop.

>>> client = Client("http://127.0.0.1:8000")                            # doctest: +SKIP
>>> model, data = client.upload_model("net.onnx"), client.upload_dataset("images.npz")
>>> job = client.submit(model, data, recipe={"base": "quick", "prune": {"budget": {"keep": 0.4}}})
>>> job.wait(on_update=lambda view: print(view.stage, view.overall))
>>> job.download("slim/")
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.flows import (
    Corrupted,
    Flows,
    InTheWay,
    JobFailed,
    JobNotFinished,
    OnUpdate,
    UploadProgress,
    WaitTimeout,
)
from service.jobs.states import JobState
from service.schemas import JobView, RecipeView, UploadView
from service.transport import ApiError, ClientError, KeyUnusable, Patience, Transport, Unreachable

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "Corrupted",
    "InTheWay",
    "Job",
    "JobFailed",
    "JobNotFinished",
    "KeyUnusable",
    "OnUpdate",
    "Unreachable",
    "UploadProgress",
    "WaitTimeout",
]

PATIENCE_S = 60.0


class Client:
    """One service. Requests are repeated where that is safe and may help.

    Args:
        url: Where it is, such as ``http://127.0.0.1:8000``.
        api_key: Sent as a bearer token, without white space around it.
        patience_s: How long a service that has answered before may be away.

    Raises:
        KeyUnusable: No key has such characters.
    """

    def __init__(self, url: str, api_key: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._transport = Transport(url.rstrip("/"), api_key)
        self._flows = Flows(Patience(url.rstrip("/"), patience_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def upload_model(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload an ONNX file."""
        return self._transport.run(self._flows.upload("/v1/models", Path(path), on_progress))

    def upload_dataset(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload calibration or evaluation data."""
        return self._transport.run(self._flows.upload("/v1/datasets", Path(path), on_progress))

    def submit(
        self,
        model: UploadView | str,
        dataset: UploadView | str,
        *,
        evaluation: UploadView | str | None = None,
        recipe: Mapping[str, Any] | str | None = None,
        queue: str = "any",
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job; sent again after a lost connection, it is still one job.

        Args:
            model: From ``upload_model``, or its id.
            dataset: From ``upload_dataset``, or its id; for scoring and training.
            evaluation: Data to judge by; else a share of ``dataset`` is held out.
            recipe: A name from ``recipes``, or an object, which may name one as its ``base``.
            queue: Where to run: any, cpu, gpu or bench.<label>.
            callback_url: Told of the end, where the service allows that host.
            idempotency_key: Two submissions with one key are one job; made up by default.
        """
        flow = self._flows.submit(model, dataset, evaluation, recipe, queue, callback_url, idempotency_key)
        return self._job(self._transport.run(flow))

    def job(self, job_id: str) -> Job:
        """A job that was queued before."""
        return self._job(self._transport.run(self._flows.look(job_id)))

    def jobs(self, *states: JobState) -> Iterator[JobView]:
        """Every job in one of the states, or in any; the newest first."""
        cursor: str | None = None
        while True:
            page = self._transport.run(self._flows.page(states, cursor))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def recipes(self) -> list[RecipeView]:
        """The recipes that have names, and when to take which."""
        return self._transport.run(self._flows.recipes())

    def delete(self, thing: UploadView | JobView | Job, /) -> None:
        """Forget an upload no unfinished job uses, or a job that has ended."""
        self._transport.run(self._flows.delete(thing.id))

    def _job(self, view: JobView) -> Job:
        return Job(self._transport, self._flows, view)


class Job:
    """A job of a service; ``view`` is how it was when last looked at."""

    def __init__(self, transport: Transport, flows: Flows, view: JobView) -> None:
        self._transport, self._flows, self.view = transport, flows, view

    @property
    def id(self) -> str:
        """The job's id."""
        return self.view.id

    def refresh(self) -> JobView:
        """Look again."""
        self.view = self._transport.run(self._flows.look(self.id))
        return self.view

    def wait(self, timeout_s: float | None = None, *, on_update: OnUpdate | None = None) -> JobView:
        """Wait until the job has ended well; a restart of the service is sat out.

        Raises:
            JobFailed: It ended otherwise.
            WaitTimeout: It has not ended after ``timeout_s``.
            Unreachable: The service was away for longer than ``patience_s``.
        """
        return self._transport.run(self._flows.wait(self, timeout_s, on_update))

    def cancel(self) -> JobView:
        """Ask the job to stop; returns before it has."""
        self.view = self._transport.run(self._flows.cancel(self.id))
        return self.view

    def retry(self) -> Job:
        """Queue a new job like this one, which failed or was cancelled."""
        return Job(self._transport, self._flows, self._transport.run(self._flows.retry(self.id)))

    def download(self, directory: str | os.PathLike[str], *, replace: bool = False) -> dict[str, Path]:
        """Fetch every artifact into ``directory``, whole and verified or not at all.

        Args:
            directory: Made if it is not there. Artifacts that are in it already are not fetched again.
            replace: Write over other files with the names of artifacts.

        Raises:
            JobNotFinished: The job waits or runs.
            JobFailed: It ended without artifacts.
            InTheWay: There is such a file, and ``replace`` was not said.
        """
        return self._transport.run(self._flows.download(self.refresh(), Path(directory), replace=replace))
