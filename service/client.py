"""The service from Python.

>>> client = Client("http://127.0.0.1:8000")                            # doctest: +SKIP
>>> model, data = client.upload_model("net.onnx"), client.upload_dataset("images.npz")
>>> job = client.submit(model, data, recipe={"prune": {"budget": {"keep": 0.4}}})
>>> job.wait(on_update=lambda view: print(view.stage, view.overall))
>>> job.download("slim/")
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.jobs.states import JobState
from service.schemas import ArtifactView, JobDetail, JobError, JobPage, JobView, PartialView, UploadView
from service.transport import ApiError, ClientError, Transport, Unreachable

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "Corrupted",
    "Job",
    "JobFailed",
    "Unreachable",
    "WaitTimeout",
]

CHUNK = 2**20
#: Files larger than this go in pieces, so that a broken connection costs the last piece only.
PIECE = 32 * 2**20
LONG_POLL_S = 25.0
# With the last piece the whole file is checked.
PIECE_TIMEOUT_S = 300.0
UploadProgress = Callable[[int, int], None]


class JobFailed(ClientError):
    """The job ended without a result; ``error`` says why."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.detail)
        self.error = error


class WaitTimeout(ClientError):
    """The job did not end in the time given; it goes on."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        super().__init__(f"job {job_id} did not end within {timeout_s:g} s; it goes on")
        self.job_id, self.timeout_s = job_id, timeout_s


class Corrupted(ClientError):
    """A file did not arrive as it was sent."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} did not arrive as it was sent")
        self.name = name


class Client:
    """One service. Requests are repeated where that is safe and may help."""

    def __init__(self, url: str, api_key: str | None = None, *, patience_s: float = 60.0) -> None:
        self._transport = Transport(url.rstrip("/"), api_key, patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def upload_model(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload an ONNX file."""
        return self._upload("/v1/models", Path(path), on_progress)

    def upload_dataset(
        self, path: str | os.PathLike[str], on_progress: UploadProgress | None = None
    ) -> UploadView:
        """Upload calibration or evaluation data."""
        return self._upload("/v1/datasets", Path(path), on_progress)

    def submit(
        self,
        model: UploadView | str,
        dataset: UploadView | str,
        *,
        evaluation: UploadView | str | None = None,
        recipe: Mapping[str, Any] | None = None,
        queue: str = "any",
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job; sent again after a lost connection, it is still one job."""
        order = {"model_id": _id(model), "dataset_id": _id(dataset), "recipe": dict(recipe or {})}
        order["queue"] = queue
        if callback_url is not None:
            order["callback_url"] = callback_url
        if evaluation is not None:
            order["evaluation_id"] = _id(evaluation)
        key = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        answer = self._transport.call("POST", "/v1/jobs", json=order, headers=key)
        return Job(self._transport, JobView.model_validate_json(answer.content))

    def job(self, job_id: str) -> Job:
        """A job that was queued before."""
        answer = self._transport.call("GET", f"/v1/jobs/{job_id}")
        return Job(self._transport, JobDetail.model_validate_json(answer.content))

    def jobs(self, *states: JobState) -> Iterator[JobView]:
        """Every job in one of the states, or in any; the newest first."""
        query: dict[str, Any] = {"state": [str(state) for state in states], "limit": 200}
        while True:
            answer = self._transport.call("GET", "/v1/jobs", params=query)
            page = JobPage.model_validate_json(answer.content)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def delete(self, thing: UploadView | JobView | Job, /) -> None:
        """Forget an upload no unfinished job uses, or a job that has ended."""
        resource = {"mdl": "models", "dat": "datasets", "job": "jobs"}[thing.id.partition("_")[0]]
        self._transport.call("DELETE", f"/v1/{resource}/{thing.id}")

    def _upload(self, path: str, file: Path, on_progress: UploadProgress | None) -> UploadView:
        if file.stat().st_size > PIECE:
            return self._upload_in_pieces(path.rpartition("/")[2].removesuffix("s"), file, on_progress)
        return self._send_whole(path, file, on_progress)

    def _send_whole(self, path: str, file: Path, on_progress: UploadProgress | None) -> UploadView:
        total, digest = file.stat().st_size, hashlib.sha256()

        def body() -> Iterator[bytes]:
            nonlocal digest
            digest, sent = hashlib.sha256(), 0
            with file.open("rb") as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    yield chunk
                    sent += len(chunk)
                    if on_progress is not None:
                        on_progress(sent, total)

        headers = {"Content-Length": str(total), "Content-Type": "application/octet-stream"}
        answer = self._transport.call("POST", path, content=body, headers=headers, params={"name": file.name})
        view = UploadView.model_validate_json(answer.content)
        if view.sha256 != digest.hexdigest():
            raise Corrupted(file.name)
        return view

    def _upload_in_pieces(self, kind: str, file: Path, on_progress: UploadProgress | None) -> UploadView:
        """By the tus protocol; costs one more pass over the file, for its digest."""
        total = file.stat().st_size
        with file.open("rb") as source:
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
        told = {"kind": kind, "filename": file.name, "sha256": sha256}
        pairs = (f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())
        headers = {"Upload-Length": str(total), "Upload-Metadata": ",".join(pairs)}
        place = self._transport.call("POST", "/v1/uploads", headers=headers).headers["Location"]
        at = 0
        while at < total:
            at = self._transport.persist(lambda: self._send_piece(place, file, total))
            if on_progress is not None:
                on_progress(at, total)
        view = PartialView.model_validate_json(self._transport.call("GET", place).content)
        if view.result is None or view.result.sha256 != sha256:
            raise Corrupted(file.name)
        return view.result

    def _send_piece(self, place: str, file: Path, total: int) -> int:
        """Send the piece that the service asks for; how much it then has."""
        at = int(self._transport.once("HEAD", place).headers["Upload-Offset"])
        with file.open("rb") as source:
            source.seek(at)
            piece = source.read(min(PIECE, total - at))
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(at),
            "Upload-Checksum": f"sha256 {base64.b64encode(hashlib.sha256(piece).digest()).decode()}",
        }
        answer = self._transport.once("PATCH", place, content=piece, headers=headers, timeout=PIECE_TIMEOUT_S)
        return int(answer.headers["Upload-Offset"])


class Job:
    """A job of a service; ``view`` is how it was when last looked at."""

    def __init__(self, transport: Transport, view: JobView) -> None:
        self._transport, self.view = transport, view

    @property
    def id(self) -> str:
        """The job's id."""
        return self.view.id

    def refresh(self) -> JobView:
        """Look again."""
        answer = self._transport.call("GET", f"/v1/jobs/{self.id}")
        self.view = JobDetail.model_validate_json(answer.content)
        return self.view

    def wait(
        self, timeout_s: float | None = None, *, on_update: Callable[[JobView], None] | None = None
    ) -> JobView:
        """Wait until the job has ended well; a restart of the service is sat out.

        Raises:
            JobFailed: It ended otherwise.
            WaitTimeout: It has not ended after ``timeout_s``.
        """
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while not self.view.finished:
            if (left := until - time.monotonic()) <= 0:
                raise WaitTimeout(self.id, timeout_s or 0.0)
            if self._changed(min(left, LONG_POLL_S), until) and on_update is not None:
                on_update(self.view)
        if self.view.state is not JobState.SUCCEEDED:
            raise JobFailed(self.view.error or _cancelled(self.view))
        return self.view

    def cancel(self) -> JobView:
        """Ask the job to stop; returns before it has."""
        answer = self._transport.call("POST", f"/v1/jobs/{self.id}/cancel")
        self.view = JobView.model_validate_json(answer.content)
        return self.view

    def retry(self) -> Job:
        """Queue a new job like this one, which failed or was cancelled."""
        key = {"Idempotency-Key": secrets.token_hex(16)}
        answer = self._transport.call("POST", f"/v1/jobs/{self.id}/retry", headers=key)
        return Job(self._transport, JobView.model_validate_json(answer.content))

    def download(self, directory: str | os.PathLike[str]) -> dict[str, Path]:
        """Fetch every artifact into ``directory``, whole and verified or not at all."""
        place = Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        return {artifact.name: self._fetch(artifact, place) for artifact in self.refresh().artifacts}

    def _changed(self, wait_s: float, until: float) -> bool:
        answer = self._transport.call(
            "GET",
            f"/v1/jobs/{self.id}",
            params={"wait": f"{wait_s:.1f}"},
            headers={"If-None-Match": f'"{self.view.seq}"'},
            timeout=wait_s + 15,
            until=until,
        )
        if answer.status_code == 304:
            return False
        self.view = JobDetail.model_validate_json(answer.content)
        return True

    def _fetch(self, artifact: ArtifactView, place: Path) -> Path:
        part = place / f".{artifact.name}.{secrets.token_hex(4)}.part"
        try:
            part.touch()
            self._transport.persist(lambda: self._continue(artifact, part))
            with part.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != artifact.sha256:
                    raise Corrupted(artifact.name)
            return part.replace(place / artifact.name)
        finally:
            part.unlink(missing_ok=True)

    def _continue(self, artifact: ArtifactView, part: Path) -> None:
        """Fetch what is missing of ``part``; a broken connection leaves it longer than before."""
        have = part.stat().st_size
        if have == artifact.size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{artifact.sha256}"'} if have else {}
        with self._transport.stream(artifact.url, headers) as response, part.open("r+b") as file:
            file.truncate(have if response.status_code == 206 else 0)
            file.seek(0, os.SEEK_END)
            for chunk in response.iter_raw():  # as it comes: what is here already is not fetched again
                file.write(chunk)


def _id(thing: UploadView | str) -> str:
    return thing if isinstance(thing, str) else thing.id


def _cancelled(view: JobView) -> JobError:
    return JobError(
        code="cancelled",
        title="The user asked to stop",
        detail=f"job {view.id} was cancelled",
        details={},
        retryable=False,
        stage=view.stage,
        attempt=view.attempt,
    )
