"""Receiving a file: the request body as it is, streamed to disk and checked before it is kept."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from service.errors import (
    ArgumentInvalid,
    ChecksumMismatch,
    EncodingUnsupported,
    QuotaExceeded,
    UploadTooLarge,
)
from service.jobs.blobs import Staged
from service.jobs.library import Library
from service.jobs.text import clean
from sosp_core.errors import SospError

# Chunks arrive in 64 KiB; a hop to a thread for each would cost more than the write.
BATCH = 2**20
DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", re.ASCII)
LONGEST_NAME = 255


@asynccontextmanager
async def staged(
    request: Request, library: Library[Any], *, limit: int, check: Callable[[Path], str]
) -> AsyncIterator[tuple[Staged, str]]:
    """The request's body as a staged file, and its format as found by ``check``.

    The file is gone when the block ends unless it was kept. Nothing is read from a request whose
    headers already rule it out.
    """
    require_identity(request)
    expected = announced_sha256(request)
    room = await run_in_threadpool(library.room)
    await run_in_threadpool(_require_room, request, library, limit, room)
    with library.blobs.writer(min(limit, room)) as writer:
        try:
            async for batch in batches(request):
                await run_in_threadpool(writer.write, batch)
        except UploadTooLarge as error:
            raise _refusal(library, limit, room) from error
        file = await run_in_threadpool(writer.finish)
        if expected is not None and expected != file.sha256:
            raise ChecksumMismatch(expected=expected, got=file.sha256)
        yield file, await run_in_threadpool(check, file.path)


def announced_sha256(request: Request) -> str | None:
    """The digest the client promises, from Content-Digest (RFC 9530) or X-Content-SHA256."""
    if (plain := request.headers.get("x-content-sha256")) is not None:
        if re.fullmatch(r"[0-9a-fA-F]{64}", plain) is None:
            raise ArgumentInvalid(field="X-Content-SHA256", reason="expected 64 hexadecimal digits")
        return plain.lower()
    match = DIGEST.search(request.headers.get("content-digest", ""))
    if match is None:
        return None  # absent, or in an algorithm that RFC 9530 lets a server ignore
    try:
        digest = base64.b64decode(match[1], validate=True)
    except binascii.Error as error:
        raise ArgumentInvalid(field="Content-Digest", reason="sha-256 is not base64") from error
    return digest.hex()


def file_name(request: Request, default: str) -> str:
    """What the client calls the file; kept as a label, never used as a path."""
    header = _utf8(request.headers.get("x-filename", ""))
    return label(request.query_params.get("name") or header, default)


def label(offered: str, default: str) -> str:
    """A client's name for a file, without any directory."""
    last = clean(offered).replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    return clean(last or default, LONGEST_NAME)


def _utf8(header: str) -> str:
    """What was sent, if that is UTF-8: headers are handed over decoded as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def require_identity(request: Request) -> None:
    """Raise ``EncodingUnsupported`` if the body is compressed in transfer."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise EncodingUnsupported(encoding=clean(encoding, 100))


def _require_room(request: Request, library: Library[Any], limit: int, room: int) -> None:
    length = request.headers.get("content-length", "0")
    size = int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else 0
    if size > min(limit, room) or room <= 0:
        raise _refusal(library, limit, room) if size <= limit else UploadTooLarge(limit=limit)
    library.blobs.require_space(size)


def _refusal(library: Library[Any], limit: int, room: int) -> SospError:
    """Why no more than the smaller of ``limit`` and ``room`` is accepted."""
    if room < limit:
        return QuotaExceeded(limit=library.quotas.stored_bytes)
    return UploadTooLarge(limit=limit)


async def batches(request: Request) -> AsyncIterator[bytes]:
    """The body in parts worth a hop to a thread; an error of the connection comes after what arrived."""
    parts: list[bytes] = []
    held = 0
    try:
        async for part in request.stream():
            parts.append(part)
            held += len(part)
            if held >= BATCH:
                yield b"".join(parts)
                parts, held = [], 0
    except (ClientDisconnect, HTTPException):
        yield b"".join(parts)
        raise
    yield b"".join(parts)
