"""``HEAD`` wherever ``GET`` answers at once, as RFC 9110 asks of every server; FastAPI leaves that out."""

from __future__ import annotations

import copy

from fastapi import APIRouter
from fastapi.routing import APIRoute


def of(router: APIRouter) -> APIRouter:
    """What answers ``HEAD`` with the headers of each ``GET``; the server itself sends no body.

    Included after all others, so that a path with a ``HEAD`` of its own keeps it. Not in the
    documentation, where each route would be there twice. Streams are left out: until the last event
    the connection could carry nothing else.
    """
    heads = APIRouter()
    for route in router.routes:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and not route.is_sse_stream:
            head = copy.copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            heads.routes.append(head)
    return heads
