"""API keys: ``sosp_<id>_<secret>``, of which only the id and a digest are stored.

The secret has 256 bits of randomness, so that a plain SHA-256 cannot be searched back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence

from sqlalchemy import Row, bindparam, select

from service.errors import NotFound
from service.jobs.database import Database
from service.jobs.owners import Caller
from service.jobs.tables import ApiKey, Role, clock
from service.jobs.text import clean

FORM = re.compile(r"sosp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
# Compared with when there is no such key, so that this takes as long as a wrong secret.
NO_DIGEST = "0" * 64
# How long it goes unnoticed that another process made the very first key.
FRESH_S = 1.0
# Built once: every request of a service with keys asks this.
KEY = select(ApiKey.id, ApiKey.role, ApiKey.secret_sha256, ApiKey.revoked_at).where(
    ApiKey.id == bindparam("id")
)


class Keys:
    """Every key of an installation; one object serves any number of threads."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._made, self._looked_at = False, float("-inf")

    def create(self, name: str, role: Role) -> tuple[ApiKey, str]:
        """A new key: its row, and its text, which cannot be had again."""
        id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self.db.write() as session:
            now = session.scalar(select(clock()))
            row = ApiKey(
                id=id, name=clean(name, 255), role=role, secret_sha256=_digest(secret), created_at=now
            )
            session.add(row)
        self._made = True
        return row, f"sosp_{id}_{secret}"

    def every(self) -> Sequence[ApiKey]:
        """All keys, the oldest first, revoked ones too."""
        with self.db.read() as session:
            return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()

    def any(self) -> bool:
        """Whether a key was ever made; revoking the last one must not open the door."""
        if not self._made:
            began = time.monotonic()
            with self.db.read() as session:
                self._made = session.scalar(select(ApiKey.id).limit(1)) is not None
            self._looked_at = began
        return self._made

    def remembered(self) -> bool | None:
        """What ``any`` would say, without asking the database; None if that was long ago.

        A key made through this object counts at once, one made by another process within ``FRESH_S``.
        """
        fresh = self._made or time.monotonic() - self._looked_at < FRESH_S
        return self._made if fresh else None

    def revoke(self, id: str) -> ApiKey:
        """Make a key invalid for good; what it owns stays."""
        with self.db.write() as session:
            row = session.get(ApiKey, id)
            if row is None:
                raise NotFound(kind="key", id=id)
            row.revoked_at = row.revoked_at or session.scalar(select(clock()))
        return row

    def holder(self, text: str) -> Caller | None:
        """Whose key ``text`` is; None if it is nobody's."""
        if (form := FORM.fullmatch(text)) is None:
            return None
        row = self._row(form[1])
        same = hmac.compare_digest(_digest(form[2]), NO_DIGEST if row is None else row.secret_sha256)
        return _caller(row) if same else None

    def by_id(self, id: str) -> Caller | None:
        """Whose key has that id, for who has shown its secret before; None once it is revoked."""
        return _caller(self._row(id))

    def _row(self, id: str) -> Row[str, Role, str, float | None] | None:
        return next(iter(self.db.rows(KEY, id=id)), None)


def _caller(row: Row[str, Role, str, float | None] | None) -> Caller | None:
    if row is None or row.revoked_at is not None:
        return None
    return Caller(row.id, everything=row.role is Role.ADMIN)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
