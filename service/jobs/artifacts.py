"""The files of a job: worked on in a directory of the attempt, published by one rename."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import ArtifactGone, ResultIncomplete
from service.jobs.blobs import full_disk, sync_directory

LOG = "log.txt"
CHECKPOINTS = "checkpoints"
MEDIA_TYPES = {
    "model.onnx": "application/octet-stream",
    "model.onnx.data": "application/octet-stream",
    "report.json": "application/json",
    "report.html": "text/html; charset=utf-8",
    "plan.json": "application/json",
    "MODEL_CARD.md": "text/markdown; charset=utf-8",
    "plots.zip": "application/zip",
    "model.int8.onnx": "application/octet-stream",
    "model.fp16.onnx": "application/octet-stream",
}
#: Weights of a model of 2 GiB and more; plots, which older workers do not make; and what is made only if
#: the recipe asks for it and it can be.
OPTIONAL = frozenset({"model.onnx.data", "plots.zip", "model.int8.onnx", "model.fp16.onnx"})
#: One model for each budget of a sweep; weights beside it where one file cannot hold it.
SWEPT = re.compile(r"model-[1-9][0-9]?\.onnx(\.data)?")


def media_type(name: str) -> str:
    """What a published file is."""
    return MEDIA_TYPES["model.onnx" if SWEPT.fullmatch(name) else name]


@dataclass(frozen=True)
class Artifact:
    """One published file."""

    name: str
    size: int
    sha256: str

    def record(self) -> dict[str, Any]:
        """The entry in the job's row."""
        return asdict(self)


class Artifacts:
    """``jobs/<id>/<fence>/`` under ``root``; an unpublished attempt's ends in ``.work``.

    Each attempt has a directory of its own, so an attempt that lost its lease cannot touch the
    files of the one that replaced it. ``checkpoints/`` is common to all of them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / "jobs"
        self._root.mkdir(parents=True, exist_ok=True)

    def checkpoints(self, job_id: str, ancestors: Sequence[str] = ()) -> Path:
        """Where the attempts at a job keep what they have finished; the folder may not be there yet.

        A retry takes over what the nearest of its ``ancestors`` left that left anything.
        """
        place = self._checkpoints(job_id)
        for ancestor in ancestors:
            if place.exists():
                break
            with suppress(FileNotFoundError):  # it left nothing, or another retry was first
                place.parent.mkdir(parents=True, exist_ok=True)
                self._checkpoints(ancestor).replace(place)
        return place

    def checkpointed(self, job_id: str) -> int:
        """Bytes of a job's checkpoints."""
        return sum(path.lstat().st_size for path in self._checkpoints(job_id).glob("*"))

    def drop_checkpoints(self, job_id: str) -> None:
        """Remove a job's checkpoints."""
        shutil.rmtree(self._checkpoints(job_id), ignore_errors=True)

    def begin(self, job_id: str, fence: int) -> Path:
        """A fresh working directory for one attempt, with ``out/`` for what it will publish."""
        work = self._work(job_id, fence)
        with full_disk("the job's files"):
            (work / "out").mkdir(parents=True)
        return work

    def publish(self, job_id: str, fence: int) -> list[Artifact]:
        """Make the attempt's files final and list them.

        Raises:
            ResultIncomplete: A file that is not optional is missing.
            StorageFull: The disk is full.
        """
        out, place = self._work(job_id, fence) / "out", self._place(job_id, fence)
        with full_disk("the job's files"):
            made = [name for name in MEDIA_TYPES if name not in OPTIONAL or (out / name).is_file()]
            swept = sorted(
                (p.name for p in out.iterdir() if SWEPT.fullmatch(p.name)), key=lambda n: (len(n), n)
            )
            artifacts = [_describe(out / name) for name in (*made, *swept)]
            sync_directory(out)
            out.replace(place)
            sync_directory(place.parent)
        return artifacts

    def path(self, job_id: str, fence: int, name: str) -> Path:
        """Where a published file is, or would be."""
        return self._place(job_id, fence) / name

    def require(self, job_id: str, fence: int, name: str) -> Path:
        """Where a published file is.

        Raises:
            ArtifactGone: It is not there any more.
            Unavailable: The directory cannot be reached.
        """
        path = self.path(job_id, fence, name)
        with full_disk("the job's files"):
            if not path.is_file():
                raise ArtifactGone(job_id=job_id, name=name)
        return path

    def withdraw(self, job_id: str, fence: int) -> None:
        """Remove what an attempt published but could not record."""
        shutil.rmtree(self._place(job_id, fence), ignore_errors=True)

    def tidy(self, job_id: str, fence: int) -> None:
        """Remove the working directory of an attempt, except its log."""
        work = self._work(job_id, fence)
        for path in work.iterdir() if work.exists() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOG:
                path.unlink(missing_ok=True)

    def places(self) -> list[Path]:
        """The directory of every job that has one."""
        return list(self._root.iterdir())

    def fences(self, job_id: str) -> set[int]:
        """The attempts of a job that left files."""
        names = (path.name.removesuffix(".work") for path in (self._root / job_id).iterdir())
        return {int(name) for name in names if name.isdecimal()}

    def leftovers(self, job_id: str, fence: int, *, published: bool) -> int:
        """Bytes that ``tidy`` would remove, and ``withdraw`` unless the attempt was ``published``."""
        work = [path for path in self._work(job_id, fence).rglob("*") if path.name != LOG]
        place = [] if published else list(self._place(job_id, fence).rglob("*"))
        return sum(path.lstat().st_size for path in (*work, *place))

    def remove(self, job_id: str) -> None:
        """Remove every file of a job."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def _checkpoints(self, job_id: str) -> Path:
        return self._root / job_id / CHECKPOINTS

    def _work(self, job_id: str, fence: int) -> Path:
        return self._root / job_id / f"{fence}.work"

    def _place(self, job_id: str, fence: int) -> Path:
        return self._root / job_id / str(fence)


def _describe(path: Path) -> Artifact:
    if not path.is_file():
        raise ResultIncomplete(name=path.name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return Artifact(path.name, os.fstat(file.fileno()).st_size, digest)
