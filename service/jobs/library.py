"""Uploaded models and datasets: rows that name content-addressed files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.errors import InUse, NotFound
from service.jobs import ids
from service.jobs.blobs import Blobs, Staged
from service.jobs.database import Database
from service.jobs.owners import OURSELVES, Caller
from service.jobs.quotas import Quotas, lock_of
from service.jobs.states import TERMINAL
from service.jobs.tables import Dataset, Job, Model, clock

Row = TypeVar("Row", Model, Dataset)


@dataclass(frozen=True)
class Library(Generic[Row]):
    """All uploads of one kind."""

    db: Database
    blobs: Blobs
    quotas: Quotas
    table: type[Row]
    kind: str
    prefix: str
    caller: Caller = OURSELVES

    def by(self, caller: Caller) -> Library[Row]:
        """The same, as ``caller`` sees it."""
        return replace(self, caller=caller)

    def room(self) -> int:
        """Bytes the caller may still add."""
        with self.db.read() as session:
            return self.quotas.room(session, self.caller.owner)

    def add(
        self,
        staged: Staged,
        *,
        name: str,
        format: str,
        also: Callable[[Session, str], None] = lambda session, id: None,
    ) -> Row:
        """Keep a staged file under a new id; bytes that are here already are stored once.

        Args:
            staged: The file.
            name: What the client calls it.
            format: What it was found to be.
            also: What to do in the same transaction, given the new id, before room is looked for.
        """
        owner, id = self.caller.owner, ids.new(self.prefix)
        with self.db.write() as session:
            # The lock is held while the file moves into place, so that a ``remove`` of the same
            # bytes happens before or after, never between file and row.
            self.db.lock(session, lock_of(owner), lock_on(staged.sha256))
            also(session, id)
            self.quotas.require_room(session, owner, staged.size)
            self.blobs.keep(staged)
            row = self.table(
                id=id,
                owner=owner,
                name=name,
                format=format,
                sha256=staged.sha256,
                size=staged.size,
                created_at=session.scalar(select(clock())),
            )
            session.add(row)
        return row

    def get(self, id: str) -> Row:
        """The upload of that id."""
        with self.db.read() as session:
            return self._get(session, id)

    def page(self, *, limit: int, before: str | None = None) -> Sequence[Row]:
        """The newest uploads older than ``before``."""
        query = select(self.table).where(self.caller.sees(self.table))
        query = query.order_by(self.table.id.desc()).limit(limit)
        if before is not None:
            query = query.where(self.table.id < before)
        with self.db.read() as session:
            return session.scalars(query).all()

    def remove(self, id: str) -> None:
        """Forget an upload that no unfinished job uses, and its bytes if nothing else has them."""
        with self.db.write() as session:
            row = self._get(session, id)
            self.db.lock(session, lock_on(id), lock_on(row.sha256))
            if (job_id := session.scalar(_unfinished_user_of(id))) is not None:
                raise InUse(kind=self.kind, id=id, job_id=job_id)
            session.delete(row)
            session.flush()
            if not is_referenced(session, row.sha256):
                self.blobs.discard(row.sha256)

    def _get(self, session: Session, id: str) -> Row:
        query = select(self.table).where(self.table.id == id, self.caller.sees(self.table))
        row = session.scalar(query) if ids.is_id(id, self.prefix) else None
        if row is None:
            raise NotFound(kind=self.kind, id=id)
        return row


def models(db: Database, blobs: Blobs, quotas: Quotas) -> Library[Model]:
    """The uploaded models."""
    return Library(db, blobs, quotas, Model, "model", ids.MODEL)


def datasets(db: Database, blobs: Blobs, quotas: Quotas) -> Library[Dataset]:
    """The uploaded datasets."""
    return Library(db, blobs, quotas, Dataset, "dataset", ids.DATASET)


def lock_on(thing: str) -> str:
    """The name to lock while the use of an upload, or of a file by its digest, changes."""
    return f"upload:{thing}"


def _unfinished_user_of(id: str) -> Select[str]:
    uses = (Job.model_id == id) | (Job.dataset_id == id) | (Job.evaluation_id == id)
    return select(Job.id).where(uses, Job.state.not_in(TERMINAL)).limit(1)


def is_referenced(session: Session, sha256: str) -> bool:
    """Whether any upload has these bytes."""
    return any(
        session.scalar(select(table.id).where(table.sha256 == sha256).limit(1)) is not None
        for table in (Model, Dataset)
    )
