"""Uploads in pieces, by the tus protocol 1.0.0: ``/v1/uploads``.

Core, creation, checksum, expiration and termination; https://tus.io/protocols/resumable-upload.
Beyond it, ``GET`` shows how far an upload is and, once it is complete, what it became.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from contextlib import suppress
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import uploads
from service.deps import Parts, PartsDep
from service.errors import (
    ArgumentInvalid,
    ChecksumMismatch,
    MediaTypeUnsupported,
    NotFound,
    StorageFull,
    UploadTooLarge,
)
from service.jobs import ids
from service.jobs.partials import Appender, Kind, Partials
from service.jobs.tables import PartialUpload
from service.jobs.text import clean
from service.schemas import PartialView, UploadView
from service.sniff import check_data, check_model
from sosp_core.errors import SospError

PREFIX = "/v1/uploads"
VERSION = {"Tus-Resumable": "1.0.0"}
ABILITIES = {
    "Tus-Version": "1.0.0",
    "Tus-Extension": "creation,checksum,expiration,termination",
    "Tus-Checksum-Algorithm": "sha256",
}
PIECE_TYPE = "application/offset+octet-stream"
#: Of a request that is cut off by a crash, all but the last so many bytes are kept.
COMMIT_EVERY = 64 * 2**20
KINDS: dict[str, tuple[Kind, str]] = {"model": ("model", ids.MODEL), "dataset": ("dataset", ids.DATASET)}
PIECE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The next bytes of the file.",
        "content": {PIECE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
Text = Annotated[str, Header()]

router = APIRouter(prefix=PREFIX, tags=["uploads"])


@router.options("", status_code=204, operation_id="upload_abilities")
def abilities(response: Response, parts: PartsDep) -> None:
    """Say which parts of the protocol are spoken here."""
    response.headers.update({**VERSION, **ABILITIES, "Tus-Max-Size": str(parts.settings.max_upload_bytes)})


@router.post("", status_code=201, operation_id="begin_upload")
def create(
    response: Response, parts: PartsDep, upload_length: Text = "", upload_metadata: Text = ""
) -> PartialView:
    """Begin an upload of ``Upload-Length`` bytes.

    ``Upload-Metadata`` holds pairs of a name and a base64 value: ``kind`` (model or dataset),
    ``filename``, and ``sha256`` of the whole file in hexadecimal, which is verified at its end.
    """
    size, told = _size(upload_length, parts.settings.max_upload_bytes), _metadata(upload_metadata)
    if told.get("kind") not in KINDS:
        raise ArgumentInvalid(field="Upload-Metadata", reason="kind has to be model or dataset")
    sha256 = told.get("sha256")
    if sha256 is not None and re.fullmatch(r"[0-9a-fA-F]{64}", sha256, re.ASCII) is None:
        raise ArgumentInvalid(field="Upload-Metadata", reason="sha256 has to be 64 hexadecimal digits")
    row = parts.partials.create(
        KINDS[told["kind"]][0],
        name=uploads.label(told.get("filename", ""), told["kind"]),
        size=size,
        sha256=None if sha256 is None else sha256.lower(),
    )
    response.headers.update({"Location": f"{PREFIX}/{row.id}", **_headers(parts.partials, row)})
    return PartialView.of(row, parts.partials.ttl_s)


@router.head("/{id}", operation_id="ask_upload")
def offset(id: str, response: Response, parts: PartsDep) -> None:
    """Say how many bytes are here, as ``Upload-Offset``."""
    row = parts.partials.get(id)
    response.headers.update({"Upload-Length": str(row.size), **_headers(parts.partials, row)})


@router.get("/{id}", operation_id="get_upload")
def get(id: str, response: Response, parts: PartsDep) -> PartialView:
    """Show how far an upload is and, once it is complete, the model or dataset it became."""
    row = parts.partials.get(id)
    response.headers.update(_headers(parts.partials, row))
    return _view(parts, row)


@router.patch("/{id}", operation_id="continue_upload", openapi_extra=PIECE)
async def append(
    id: str,
    request: Request,
    parts: PartsDep,
    upload_offset: Text = "",
    upload_checksum: Text = "",
) -> Response:
    """Append the body at ``Upload-Offset``; with the last byte, the file is checked and kept.

    ``Upload-Checksum: sha256 <base64>`` has the piece verified: if it differs, none of it counts.
    What arrived before a connection broke counts, unless it was to be verified.
    """
    uploads.require_identity(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PIECE_TYPE:
        raise MediaTypeUnsupported(expected=PIECE_TYPE)
    at, expected = _number(upload_offset, "Upload-Offset"), _checksum(upload_checksum)
    row = await run_in_threadpool(parts.partials.get, id)
    if row.result_id is None or at != row.size:  # else the answer to the last piece was lost
        piece = await run_in_threadpool(parts.partials.open, id, at)
        try:
            await _receive(request, piece, expected)
            row = await run_in_threadpool(_settle, parts, id)
        finally:
            piece.close()
    return Response(status_code=204, headers=_headers(parts.partials, row))


@router.delete("/{id}", status_code=204, operation_id="end_upload")
def remove(id: str, response: Response, parts: PartsDep) -> None:
    """Give an upload up; what it became, if it was complete, stays."""
    parts.partials.remove(id)
    response.headers.update(VERSION)


async def _receive(request: Request, piece: Appender, expected: bytes | None) -> None:
    try:
        async for batch in uploads.batches(request):
            await run_in_threadpool(piece.write, batch)
            if expected is None and piece.uncommitted >= COMMIT_EVERY:
                await run_in_threadpool(piece.commit)
    except (ClientDisconnect, HTTPException, StorageFull):
        if expected is None:
            await run_in_threadpool(piece.commit)
        raise
    if expected is not None and expected != piece.digest():
        raise ChecksumMismatch(expected=expected.hex(), got=piece.digest().hex())
    await run_in_threadpool(piece.commit)


def _settle(parts: Parts, id: str) -> PartialUpload:
    """Check the whole file, if it is whole, and keep it; a file that is no good is forgotten."""
    partials = parts.partials
    row = partials.get(id)
    if row.offset < row.size:
        return row
    try:
        file = partials.staged(row)
        if row.sha256 is not None and row.sha256 != file.sha256:
            raise ChecksumMismatch(expected=row.sha256, got=file.sha256)
        if row.kind == "model":
            format = check_model(file.path)
        else:
            format = check_data(file.path, parts.settings.max_unpacked_bytes)
    except SospError:
        partials.remove(id)
        raise
    library = parts.models if row.kind == "model" else parts.datasets
    library.add(file, name=row.name, format=format, also=lambda s, result: partials.finish(s, id, result))
    return partials.get(id)


def _view(parts: Parts, row: PartialUpload) -> PartialView:
    view = PartialView.of(row, parts.partials.ttl_s)
    with suppress(NotFound):  # it was deleted since
        if row.result_id is None:
            return view
        library = parts.models if row.kind == "model" else parts.datasets
        view.result = UploadView.of(library.get(row.result_id))
    return view


def _headers(partials: Partials, row: PartialUpload) -> dict[str, str]:
    expires = datetime.datetime.fromtimestamp(row.updated_at + partials.ttl_s, datetime.UTC)
    return {
        **VERSION,
        "Upload-Offset": str(row.offset),
        "Upload-Expires": format_datetime(expires, usegmt=True),
    }


def _size(text: str, limit: int) -> int:
    size = _number(text, "Upload-Length")
    if size > limit:
        raise UploadTooLarge(limit=limit)
    if size == 0:
        raise ArgumentInvalid(field="Upload-Length", reason="an empty file is no model and no data")
    return size


def _number(text: str, field: str) -> int:
    if re.fullmatch(r"\d{1,18}", text, re.ASCII) is None:
        raise ArgumentInvalid(field=field, reason="expected a number of bytes")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """Pairs of a name and a value in base64, with commas between them."""
    told = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            told[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            reason = f"the value of {clean(name, 50)!r} is not base64 of UTF-8 text"
            raise ArgumentInvalid(field="Upload-Metadata", reason=reason) from error
    return told


def _checksum(text: str) -> bytes | None:
    if not text:
        return None
    algorithm, _, value = text.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm.lower() != "sha256" or len(digest) != 32:
        raise ArgumentInvalid(field="Upload-Checksum", reason="expected sha256 and its base64 value")
    return digest
