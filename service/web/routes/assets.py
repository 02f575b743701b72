"""``/static``: the stylesheet, the scripts and the mark."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.errors import NotFound
from service.web.rendering import STATIC, content

router = APIRouter(prefix="/static", include_in_schema=False)


@router.get("/{name}")
def asset(name: str) -> Response:
    """One file; its address changes with its content, so it may be kept for long."""
    if name not in STATIC:
        raise NotFound(kind="page", id=name)
    return Response(
        content(name), media_type=STATIC[name], headers={"Cache-Control": "public, max-age=604800"}
    )
