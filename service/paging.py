"""Cursors: opaque to clients, the last id of a page to us."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol, TypeVar

from service.errors import ArgumentInvalid
from service.jobs import ids


class Identified(Protocol):
    """Anything listed by id."""

    id: str


Item = TypeVar("Item", bound=Identified)


def encode(id: str) -> str:
    """The cursor of the page that begins after ``id``."""
    return base64.urlsafe_b64encode(id.encode()).decode().rstrip("=")


def decode(cursor: str | None, prefix: str) -> str | None:
    """The id a cursor stands for; None for the first page."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise ArgumentInvalid(field="cursor", reason="not a cursor from this list") from error
    if not ids.is_id(id, prefix):
        raise ArgumentInvalid(field="cursor", reason="not a cursor from this list")
    return id


def cut(rows: Sequence[Item], limit: int) -> tuple[Sequence[Item], str | None]:
    """A page of ``limit`` out of up to ``limit + 1`` rows, and the cursor of the next if there is one."""
    page = rows[:limit]
    return page, encode(page[-1].id) if len(rows) > limit else None
