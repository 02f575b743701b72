"""Uploads that arrive in pieces: a row that says how much is safely here, and the file so far.

What the row counts has been forced onto the disk. Whatever lies in the file beyond it, as after a
crash, is cut off before more is appended. The declared size counts against the owner's quota from
the beginning, so that many unfinished uploads cannot take more room than finished ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from service.errors import (
    ArgumentInvalid,
    NotFound,
    OffsetMismatch,
    TooManyUploads,
    UploadBusy,
    UploadExpired,
)
from service.jobs import ids
from service.jobs.blobs import Blobs, Staged, full_disk
from service.jobs.database import Database
from service.jobs.owners import OURSELVES, Caller
from service.jobs.quotas import Quotas, lock_of
from service.jobs.records import rows_changed
from service.jobs.tables import PartialUpload, clock

Kind = Literal["model", "dataset"]
#: Unfinished uploads of one owner; the rest is bounded by its quota in bytes.
MOST_OPEN = 100


class Appender:
    """The file of one upload, held by us alone."""

    def __init__(self, db: Database, blobs: Blobs, row: PartialUpload, file: BinaryIO) -> None:
        self._db, self._blobs, self._row, self._file = db, blobs, row, file
        self._hash, self._end, self.offset = hashlib.sha256(), row.offset, row.offset

    def write(self, data: bytes) -> None:
        """Append ``data``; it counts once it is committed.

        Raises:
            ArgumentInvalid: More arrives than was declared.
            StorageFull: The disk is full, or would have less free space than the floor.
        """
        if self._end + len(data) > self._row.size:
            reason = f"more than the declared {self._row.size} bytes arrived"
            raise ArgumentInvalid(field="Upload-Length", reason=reason)
        self._blobs.require_space(len(data))
        with full_disk("the upload"):
            self._file.write(data)
        self._hash.update(data)
        self._end += len(data)

    @property
    def uncommitted(self) -> int:
        """Bytes written since the last commit."""
        return self._end - self.offset

    def digest(self) -> bytes:
        """SHA-256 of what was appended."""
        return self._hash.digest()

    def commit(self) -> int:
        """Force what was written onto the disk and count it; the new offset.

        Raises:
            OffsetMismatch: Somebody else has appended, on a file system without locks.
        """
        with full_disk("the upload"):
            self._file.flush()
            os.fsync(self._file.fileno())
        ours = update(PartialUpload).where(
            PartialUpload.id == self._row.id, PartialUpload.offset == self.offset
        )
        with self._db.write() as session:
            if rows_changed(session, ours.values(offset=self._end, updated_at=clock())) == 0:
                raise OffsetMismatch(expected=self._end, got=self.offset)
        self.offset = self._end
        return self.offset

    def close(self) -> None:
        """Let go of the file; what was not committed is cut off again."""
        with suppress(OSError):
            self._file.flush()
        with suppress(OSError):
            os.truncate(self._file.fileno(), self.offset)
        with suppress(OSError):
            self._file.close()


@dataclass(frozen=True)
class Partials:
    """Every unfinished upload, and finished ones until they expire.

    Attributes:
        root: Folder of the files, on the file system of the blobs.
        ttl_s: Seconds without progress until an upload is forgotten.
    """

    db: Database
    root: Path
    blobs: Blobs
    quotas: Quotas
    ttl_s: float
    caller: Caller = OURSELVES

    def by(self, caller: Caller) -> Partials:
        """The same, as ``caller`` sees it."""
        return replace(self, caller=caller)

    def create(self, kind: Kind, *, name: str, size: int, sha256: str | None) -> PartialUpload:
        """Begin an upload of ``size`` bytes.

        Raises:
            QuotaExceeded: The owner has no room for it.
            TooManyUploads: The owner has as many unfinished as allowed.
            StorageFull: The disk has no room for it.
        """
        owner = self.caller.owner
        self.blobs.require_space(size)
        with self.db.write() as session:
            self.db.lock(session, lock_of(owner))
            self.quotas.require_room(session, owner, size)
            mine = PartialUpload.owner == owner, PartialUpload.result_id.is_(None)
            if (
                session.scalar(select(func.count()).select_from(PartialUpload).where(*mine)) or 0
            ) >= MOST_OPEN:
                raise TooManyUploads(limit=MOST_OPEN)
            now = session.scalar(select(clock()))
            row = PartialUpload(id=ids.new(ids.UPLOAD), owner=owner, kind=kind, name=name, size=size)
            row.sha256, row.offset, row.created_at, row.updated_at = sha256, 0, now or 0.0, now or 0.0
            with full_disk("the upload"):
                self.root.mkdir(exist_ok=True)
                self.path(row.id).touch()
            session.add(row)
        return row

    def get(self, id: str) -> PartialUpload:
        """The upload of that id.

        Raises:
            NotFound: There is none, or it is somebody else's.
            UploadExpired: It has been left alone for too long.
        """
        query = select(PartialUpload, clock()).where(PartialUpload.id == id, self.caller.sees(PartialUpload))
        with self.db.read() as session:
            found = session.execute(query).first() if ids.is_id(id, ids.UPLOAD) else None
        if found is None:
            raise NotFound(kind="upload", id=id)
        row: PartialUpload = found[0]
        if row.updated_at + self.ttl_s < found[1]:
            raise UploadExpired(id=id)
        return row

    def open(self, id: str, offset: int) -> Appender:
        """Take the file of an upload, to append at ``offset``.

        Raises:
            OffsetMismatch: That is not how much is here.
            UploadBusy: Another request appends to it.
        """
        row = self.get(id)
        if row.result_id is not None:
            raise OffsetMismatch(expected=row.size, got=offset)
        try:
            file = self.path(id).open("r+b")
        except FileNotFoundError as error:
            raise NotFound(kind="upload", id=id) from error
        try:
            self._take(file, id)
            row = self.get(id)  # as it is now that nobody else appends
            if offset != row.offset:
                raise OffsetMismatch(expected=row.offset, got=offset)
            if os.fstat(file.fileno()).st_size < row.offset:
                raise NotFound(kind="upload", id=id)  # the file was damaged from outside
            file.truncate(row.offset)
            file.seek(row.offset)
        except BaseException:
            file.close()
            raise
        return Appender(self.db, self.blobs, row, file)

    def staged(self, row: PartialUpload) -> Staged:
        """The whole file of a complete upload; cost: one pass over it."""
        path = self.path(row.id)
        with path.open("rb") as file:
            return Staged(path, hashlib.file_digest(file, "sha256").hexdigest(), row.size)

    def finish(self, session: Session, id: str, result_id: str) -> None:
        """Record, inside the transaction that keeps the file, what the upload became."""
        done = update(PartialUpload).where(PartialUpload.id == id)
        session.execute(done.values(result_id=result_id, updated_at=clock()))

    def remove(self, id: str) -> None:
        """Forget an upload and its bytes."""
        self.get(id)
        self._forget(id)

    def collect(self, grace_s: float) -> int:
        """Forget what has expired, and files without a row; the number removed."""
        expired = select(PartialUpload.id).where(PartialUpload.updated_at < clock() - self.ttl_s)
        with self.db.read() as session:
            old: Sequence[str] = session.scalars(expired).all()
        for id in old:
            self._forget(id)
        removed = len(old)
        for path in self.root.iterdir() if self.root.exists() else ():
            with suppress(FileNotFoundError):
                young = path.stat().st_mtime >= time.time() - grace_s
                with self.db.read() as session:
                    known = session.get(PartialUpload, path.name) is not None
                if not known and not young:
                    path.unlink()
                    removed += 1
        return removed

    def path(self, id: str) -> Path:
        """Where the bytes of an unfinished upload are."""
        return self.root / id

    def _take(self, file: BinaryIO, id: str) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadBusy(id=id) from error

    def _forget(self, id: str) -> None:
        with self.db.write() as session:
            session.execute(delete(PartialUpload).where(PartialUpload.id == id))
        self.path(id).unlink(missing_ok=True)
