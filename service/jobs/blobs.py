"""Content-addressed files: written under a temporary name, hashed on the way, renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from service.errors import StorageFull, Unavailable, UploadTooLarge

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
# The directory is not there, read-only or damaged; or on a server that does not answer.
NO_ACCESS = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
)


@dataclass(frozen=True)
class Staged:
    """A complete file that has no name in the store yet."""

    path: Path
    sha256: str
    size: int


class Writer:
    """One file on its way in; leaving the ``with`` block removes it unless it was kept."""

    def __init__(self, blobs: Blobs, limit: int) -> None:
        self._blobs, self._limit = blobs, limit
        self._path = blobs.temporary / secrets.token_hex(16)
        self._hash, self._size = hashlib.sha256(), 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        with full_disk("the upload"):
            self._file = self._path.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Append ``data``.

        Raises:
            UploadTooLarge: More than the limit has arrived.
            StorageFull: The disk is full, or would have less free space than the floor.
        """
        assert self._file is not None
        self._size += len(data)
        if self._size > self._limit:
            raise UploadTooLarge(limit=self._limit)
        self._blobs.require_space(len(data))
        self._hash.update(data)
        with full_disk("the upload"):
            self._file.write(data)

    def finish(self) -> Staged:
        """Force the bytes onto the disk and say what they are."""
        assert self._file is not None
        with full_disk("the upload"):
            self._file.flush()
            os.fsync(self._file.fileno())
        return Staged(self._path, self._hash.hexdigest(), self._size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            # A failed flush was reported by ``write`` or ``finish``; what closing adds is the same.
            with suppress(OSError):
                self._file.close()
        self._path.unlink(missing_ok=True)


class Blobs:
    """The store under ``root``: ``blobs/ab/cdef...`` and, on the same file system, ``tmp/``."""

    def __init__(self, root: Path, *, floor: int) -> None:
        self._root, self._floor = root / "blobs", floor
        self.temporary = root / "tmp"
        for directory in (self._root, self.temporary):
            directory.mkdir(parents=True, exist_ok=True)

    def writer(self, limit: int) -> Writer:
        """Begin a file of at most ``limit`` bytes."""
        return Writer(self, limit)

    def path(self, sha256: str) -> Path:
        """Where the bytes of that digest are, or would be."""
        return self._root / sha256[:2] / sha256[2:]

    def intact(self, sha256: str) -> bool:
        """Whether the bytes are there, and are the ones that were stored."""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def keep(self, staged: Staged) -> None:
        """Give a staged file its name; equal bytes that are there already are replaced by it."""
        place = self.path(staged.sha256)
        with full_disk("the upload"):
            if not place.parent.exists():
                place.parent.mkdir(exist_ok=True)
                sync_directory(self._root)
            staged.path.replace(place)
            sync_directory(place.parent)

    def discard(self, sha256: str) -> None:
        """Remove the bytes of that digest, and what was found out about them."""
        self.path(sha256).unlink(missing_ok=True)
        for path in (self._root.parent / "inspections").glob(f"{sha256}.*"):
            path.unlink(missing_ok=True)

    def every(self) -> Iterator[tuple[str, Path]]:
        """Every stored file and its digest."""
        for directory in self._root.iterdir():
            for path in directory.iterdir():
                yield directory.name + path.name, path

    def free(self) -> int:
        """Bytes that are free above the floor; may be negative.

        Raises:
            Unavailable: The directory cannot be reached.
        """
        with full_disk("the upload"):
            return shutil.disk_usage(self._root).free - self._floor

    def writable(self) -> bool:
        """Whether a file can be made now."""
        try:
            with self.writer(limit=1) as writer:
                writer.write(b".")
                writer.finish()
        except (OSError, StorageFull, Unavailable):
            return False
        return True

    def require_space(self, size: int) -> None:
        """Raise ``StorageFull`` unless ``size`` bytes fit above the floor."""
        if self.free() < size:
            raise StorageFull(what="the upload")

    def remove_stale(self, older_than_s: float = 24 * 3600) -> None:
        """Remove what a killed process left in ``tmp/``; an upload in progress is younger."""
        for path in self.temporary.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - older_than_s:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def full_disk(what: str) -> Iterator[None]:
    """Turn "no space left" into ``StorageFull``; what keeps files from being written into ``Unavailable``."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(what=what) from error
        if error.errno in NO_ACCESS:
            raise Unavailable(part="data directory") from error
        raise


def sync_directory(path: Path) -> None:
    """Make renames in ``path`` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
