"""What the clients do, as flows: written once, for both the blocking client and the one that awaits."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from service.jobs.states import JobState
from service.jobs.text import clean
from service.schemas import (
    ArtifactView,
    JobDetail,
    JobError,
    JobPage,
    JobView,
    PartialView,
    RecipeList,
    RecipeView,
    UploadView,
)
from service.transport import ApiError, ClientError, Flow, Patience, Receive, Send, take

CHUNK = 2**20
#: Files larger than this go in pieces of it.
PIECE = 32 * 2**20
#: With the last piece the whole file is checked.
PIECE_TIMEOUT_S = 300.0
LONG_POLL_S = 25.0
#: Beyond the time a poll may wait, the time its answer may take.
GRACE_S = 15.0
PAGE = 200

#: Told bytes sent and bytes in all.
UploadProgress = Callable[[int, int], None]
OnUpdate = Callable[[JobView], None]


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


class JobNotFinished(ClientError):
    """The job has made nothing yet."""

    def __init__(self, job_id: str, state: JobState) -> None:
        super().__init__(f"job {job_id} is {state}; wait for its end")
        self.job_id, self.state = job_id, state


class Corrupted(ClientError):
    """A file did not arrive as it was sent."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} did not arrive as it was sent")
        self.name = name


class InTheWay(ClientError):
    """A file of that name is there already, and is another one; nothing was downloaded."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is another file already: choose an empty directory, or say to replace it")
        self.path = path


class Watched(Protocol):
    """A job as one of the clients holds it."""

    view: JobView


class Flows:
    """Everything that can be asked of one service.

    Args:
        patience: When to ask again.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def upload(self, path: str, file: Path, on_progress: UploadProgress | None) -> Flow[UploadView]:
        """Send a file to ``/v1/models`` or ``/v1/datasets``, and compare what arrived.

        A large one goes in pieces, so that a broken connection costs the last piece only.
        """
        total, digest = file.stat().st_size, hashlib.sha256()
        if total > PIECE:
            kind = path.rpartition("/")[2].removesuffix("s")
            return (yield from self._upload_in_pieces(kind, file, on_progress))

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
        answer = yield from self._patience.call(
            "POST", path, content=body, headers=headers, params={"name": clean(file.name)}
        )
        view = UploadView.model_validate_json(answer.content)
        if view.sha256 != digest.hexdigest():
            raise Corrupted(file.name)
        return view

    def submit(
        self,
        model: UploadView | str,
        dataset: UploadView | str,
        evaluation: UploadView | str | None,
        recipe: Mapping[str, Any] | str | None,
        queue: str,
        callback_url: str | None,
        idempotency_key: str | None,
    ) -> Flow[JobView]:
        """Queue a job; sent again after a lost connection, it is still one job."""
        told = recipe if isinstance(recipe, str) else dict(recipe or {})
        order = {"model_id": _id(model), "dataset_id": _id(dataset), "recipe": told, "queue": queue}
        if evaluation is not None:
            order["evaluation_id"] = _id(evaluation)
        if callback_url is not None:
            order["callback_url"] = callback_url
        return (yield from self._make("/v1/jobs", idempotency_key, json=order))

    def retry(self, job_id: str) -> Flow[JobView]:
        """Queue a new job like one that failed or was cancelled."""
        return (yield from self._make(f"{_job(job_id)}/retry", None))

    def look(self, job_id: str) -> Flow[JobDetail]:
        """A job as it is now."""
        answer = yield from self._patience.call("GET", _job(job_id))
        return JobDetail.model_validate_json(answer.content)

    def cancel(self, job_id: str) -> Flow[JobView]:
        """Ask a job to stop."""
        answer = yield from self._patience.call("POST", f"{_job(job_id)}/cancel")
        return JobView.model_validate_json(answer.content)

    def page(self, states: tuple[JobState, ...], cursor: str | None) -> Flow[JobPage]:
        """Some jobs, the newest first."""
        query: dict[str, Any] = {"state": [str(state) for state in states], "limit": PAGE}
        if cursor is not None:
            query["cursor"] = cursor
        answer = yield from self._patience.call("GET", "/v1/jobs", params=query)
        return JobPage.model_validate_json(answer.content)

    def recipes(self) -> Flow[list[RecipeView]]:
        """The recipes that have names."""
        answer = yield from self._patience.call("GET", "/v1/recipes")
        return RecipeList.model_validate_json(answer.content).items

    def delete(self, id: str) -> Flow[None]:
        """Forget an upload or a job."""
        resource = {"mdl": "models", "dat": "datasets", "job": "jobs"}[id.partition("_")[0]]
        yield from self._patience.call("DELETE", f"/v1/{resource}/{id}")

    def wait(self, job: Watched, timeout_s: float | None, on_update: OnUpdate | None) -> Flow[JobView]:
        """Keep the view of a job up to date until it has ended well.

        Raises:
            JobFailed: It ended otherwise.
            WaitTimeout: It has not ended after ``timeout_s``.
            Unreachable: The service is away for longer than the client's patience.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not job.view.finished:
            if (left := until - time.monotonic()) <= 0:
                raise WaitTimeout(job.view.id, timeout_s or 0.0)
            changed = yield from self._changed(job.view, min(left, LONG_POLL_S), until)
            if changed is not None:
                job.view = changed
                if on_update is not None:
                    on_update(changed)
        return _succeeded(job.view)

    def download(self, view: JobView, place: Path, *, replace: bool = False) -> Flow[dict[str, Path]]:
        """Every artifact of a job, whole and verified or not at all; what is there already is left.

        Raises:
            JobNotFinished: It waits or runs.
            JobFailed: It ended without artifacts.
            InTheWay: There is another file of such a name, and ``replace`` was not said.
        """
        if not view.finished:
            raise JobNotFinished(view.id, view.state)
        _succeeded(view)
        place.mkdir(parents=True, exist_ok=True)
        made = {artifact.name: place / artifact.name for artifact in view.artifacts}
        missing = [artifact for artifact in view.artifacts if not _is(made[artifact.name], artifact)]
        in_the_way = [made[artifact.name] for artifact in missing if made[artifact.name].exists()]
        if in_the_way and not replace:
            raise InTheWay(in_the_way[0])
        for artifact in missing:
            yield from self._fetch(artifact, place)
        return made

    def _upload_in_pieces(
        self, kind: str, file: Path, on_progress: UploadProgress | None
    ) -> Flow[UploadView]:
        """Send a file by the tus protocol; costs one more pass over it, for its digest."""
        sending = Pieces(kind, file)
        answer = yield from self._patience.call("POST", "/v1/uploads", headers=sending.announcement())
        place, at = answer.headers["Location"], 0
        while at < sending.total:
            at = yield from self._patience.persist(lambda: sending.next(place))
            if on_progress is not None:
                on_progress(at, sending.total)
        answer = yield from self._patience.call("GET", place)
        return sending.verified(PartialView.model_validate_json(answer.content))

    def _make(self, path: str, key: str | None, **options: Any) -> Flow[JobView]:
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        answer = yield from self._patience.call("POST", path, headers=headers, **options)
        return JobView.model_validate_json(answer.content)

    def _changed(self, view: JobView, wait_s: float, until: float) -> Flow[JobDetail | None]:
        answer = yield from self._patience.call(
            "GET",
            f"/v1/jobs/{view.id}",
            params={"wait": f"{wait_s:.1f}"},
            headers={"If-None-Match": f'"{view.seq}"'},
            timeout=wait_s + GRACE_S,
            until=until,
        )
        return None if answer.status_code == 304 else JobDetail.model_validate_json(answer.content)

    def _fetch(self, artifact: ArtifactView, place: Path) -> Flow[None]:
        part = Part(place / f".{artifact.name}.{secrets.token_hex(4)}.part", artifact)
        try:
            if part.missing:
                yield from self._patience.persist(lambda: take(part.rest()))
            part.verified().replace(place / artifact.name)
        finally:
            part.path.unlink(missing_ok=True)


class Pieces:
    """A file that is being sent in pieces; the service says which it wants next."""

    def __init__(self, kind: str, file: Path) -> None:
        self._kind, self._file, self.total = kind, file, file.stat().st_size
        with file.open("rb") as source:
            self._sha256 = hashlib.file_digest(source, "sha256").hexdigest()

    def announcement(self) -> dict[str, str]:
        """What is to come, as headers."""
        told = {"kind": self._kind, "filename": clean(self._file.name), "sha256": self._sha256}
        pairs = (f"{name} {_base64(value.encode())}" for name, value in told.items())
        return {"Upload-Length": str(self.total), "Upload-Metadata": ",".join(pairs)}

    def next(self, place: str) -> Flow[int]:
        """Send the piece that the service asks for; how much it then has."""
        answer = yield from take(Send(method="HEAD", path=place))
        at = int(answer.headers["Upload-Offset"])
        with self._file.open("rb") as source:
            source.seek(at)
            piece = source.read(min(PIECE, self.total - at))
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(at),
            "Upload-Checksum": f"sha256 {_base64(hashlib.sha256(piece).digest())}",
        }
        options = {"headers": headers, "timeout": PIECE_TIMEOUT_S}
        answer = yield from take(Send(method="PATCH", path=place, content=piece, options=options))
        return int(answer.headers["Upload-Offset"])

    def verified(self, view: PartialView) -> UploadView:
        """What became of it; ``Corrupted`` if that is not this file."""
        if view.result is None or view.result.sha256 != self._sha256:
            raise Corrupted(self._file.name)
        return view.result


class Part:
    """A file that is being downloaded; a broken connection leaves it longer than before."""

    def __init__(self, path: Path, artifact: ArtifactView) -> None:
        self.path, self._artifact = path, artifact
        path.touch()

    @property
    def missing(self) -> bool:
        """Whether some of it is yet to come."""
        return self.path.stat().st_size < self._artifact.size

    def rest(self) -> Receive:
        """Ask for what is missing."""
        have = self.path.stat().st_size
        going_on = {"Range": f"bytes={have}-", "If-Range": f'"{self._artifact.sha256}"'} if have else {}
        # What is received is kept as it comes: a proxy must not compress it.
        headers = {"Accept-Encoding": "identity", **going_on}
        return Receive(path=self._artifact.url, sink=self, headers=headers)

    def begin(self, response: httpx.Response) -> None:
        """Begin anew unless the service goes on where we are."""
        if response.status_code != 206:
            os.truncate(self.path, 0)

    def write(self, chunk: bytes) -> None:
        """Append what arrived."""
        with self.path.open("ab") as file:
            file.write(chunk)

    def verified(self) -> Path:
        """The file, if it is what was made; ``Corrupted`` otherwise."""
        if not _is(self.path, self._artifact):
            raise Corrupted(self._artifact.name)
        return self.path


def _is(path: Path, artifact: ArtifactView) -> bool:
    """Whether the file is there and holds what was made."""
    if not path.is_file() or path.stat().st_size != artifact.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _id(thing: UploadView | str) -> str:
    return thing if isinstance(thing, str) else thing.id


def _job(id: str) -> str:
    """The path of a job; what is no id would be the path of something else."""
    if not re.fullmatch(r"\w+", id, re.ASCII):
        raise ApiError(404, "not_found", f"there is no job {id!r}", [])
    return f"/v1/jobs/{id}"


def _succeeded(view: JobView) -> JobView:
    """A job that has ended; ``JobFailed`` unless it ended well."""
    if view.state is JobState.SUCCEEDED:
        return view
    raise JobFailed(view.error or _cancelled(view))


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
