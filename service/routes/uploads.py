"""What models and datasets have in common as resources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service import paging, uploads
from service.deps import Parts, PartsDep
from service.jobs.library import Library
from service.schemas import PageQuery, UploadPage, UploadView

RAW_BODY: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": place, "schema": {"type": "string"}, "description": text}
        for name, place, text in (
            ("name", "query", "What to call the file."),
            ("X-Filename", "header", "The same."),
            ("X-Content-SHA256", "header", "Digest of the body; it is verified."),
            ("Content-Digest", "header", "The same, by RFC 9530: sha-256=:base64:."),
        )
    ],
    "requestBody": {
        "required": True,
        "description": "The file itself, not a form.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
}


def build(
    kind: str,
    *,
    prefix: str,
    library: Callable[[Parts], Library[Any]],
    check: Callable[[Parts, Path], str],
) -> APIRouter:
    """The routes of one kind of upload, under ``/v1/<kind>s``."""
    path = f"/v1/{kind}s"
    router = APIRouter(prefix=path, tags=[f"{kind}s"])

    @router.post("", status_code=201, openapi_extra=RAW_BODY, operation_id=f"upload_{kind}")
    async def upload(request: Request, response: Response, parts: PartsDep) -> UploadView:
        """Upload one file; the body is the file itself."""
        name = uploads.file_name(request, kind)
        limit = parts.settings.max_upload_bytes

        def look(file: Path) -> str:
            return check(parts, file)

        shelf = library(parts)
        async with uploads.staged(request, shelf, limit=limit, check=look) as (file, format):
            row = await run_in_threadpool(shelf.add, file, name=name, format=format)
        response.headers["Location"] = f"{path}/{row.id}"
        return UploadView.of(row)

    @router.get("", operation_id=f"list_{kind}s")
    def page(query: Annotated[PageQuery, Query()], parts: PartsDep) -> UploadPage:
        """List uploads, the newest first."""
        before = paging.decode(query.cursor, prefix)
        rows, cursor = paging.cut(library(parts).page(limit=query.limit + 1, before=before), query.limit)
        return UploadPage(items=[UploadView.of(row) for row in rows], next_cursor=cursor)

    @router.get("/{id}", operation_id=f"get_{kind}")
    def get(id: str, parts: PartsDep) -> UploadView:
        """Describe one upload."""
        return UploadView.of(library(parts).get(id))

    @router.delete("/{id}", status_code=204, operation_id=f"delete_{kind}")
    def delete(id: str, parts: PartsDep) -> None:
        """Forget an upload that no unfinished job uses."""
        library(parts).remove(id)

    return router
