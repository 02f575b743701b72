"""Where exceptions become answers: one function an origin.

Each sends a problem document, or to a browser a page that says the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import problems
from service.errors import MediaTypeUnsupported, StorageFull, TooManyRequests, Unauthenticated, Unavailable
from service.jobs.text import clean
from service.problems import MEDIA_TYPE, PLAIN, FieldError, Place, Problem
from service.web import errors as pages
from sosp_core.errors import SospError

MOST_ERRORS = 20
# How SQLite, and PostgreSQL, say that the disk is full.
FULL = ("database or disk is full", "No space left on device", "could not extend file")

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document."""
    handlers: Mapping[Any, Any] = {
        SospError: on_deliberate,
        OperationalError: on_database,
        InterfaceError: on_database,
        RequestValidationError: on_validation,
        HTTPException: on_http,
        ClientDisconnect: on_disconnect,
        Exception: on_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def on_deliberate(request: Request, error: SospError) -> Response:
    """An error of either tree."""
    headers: dict[str, str] = {}
    match error:
        case Unauthenticated():
            headers["WWW-Authenticate"] = "Bearer"
        case TooManyRequests():
            headers["Retry-After"] = str(error.retry_after_s)
    return _send(request, problems.of_error(error, _place(request)), retry=error.retryable, headers=headers)


async def on_database(request: Request, error: DBAPIError) -> Response:
    """The database is locked, full or away."""
    log.error("database: %s", error)
    if any(words in str(error.orig) for words in FULL):
        return await on_deliberate(request, StorageFull(what="the job database"))
    return await on_deliberate(request, Unavailable(part="database"))


async def on_validation(request: Request, error: RequestValidationError) -> Response:
    """A request that does not fit its schema; says where, and never repeats what was sent."""
    if isinstance(error.body, bytes):  # it was not parsed, as it does not say that it is JSON
        return await on_deliberate(request, MediaTypeUnsupported(expected="application/json"))
    found = [
        FieldError(field=clean(".".join(map(str, item["loc"])), 300), message=clean(item["msg"], 300))
        for item in error.errors()[:MOST_ERRORS]
    ]
    status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
    detail = "; ".join(f"{item.field}: {item.message}" for item in found)
    return _send(request, _plain(request, status, detail, found))


async def on_http(request: Request, error: HTTPException) -> Response:
    """What the framework refuses: unknown routes, wrong methods, bodies it cannot parse."""
    if not is_body_allowed_for_status_code(error.status_code):
        return Response(status_code=error.status_code, headers=error.headers)
    return _send(request, _plain(request, error.status_code, str(error.detail)), headers=error.headers)


async def on_disconnect(request: Request, error: ClientDisconnect) -> Response:
    """The client went away; nobody reads this."""
    return _send(request, _plain(request, 400, "the connection ended before the body did"))


async def on_bug(request: Request, error: Exception) -> Response:
    """What nobody foresaw. The server logs the traceback; the client gets the id to ask about."""
    return _send(
        request, _plain(request, 500, "an internal error occurred; the server's log has the details")
    )


def _plain(request: Request, status: int, detail: str, errors: list[FieldError] | None = None) -> Problem:
    code, title = PLAIN.get(status, (f"http_{status}", detail))
    return problems.describe(status, code, title, detail, _place(request), errors=errors)


def _place(request: Request) -> Place:
    return Place(request.url.path, request.scope.get("request_id", ""))


def _send(
    request: Request, problem: Problem, *, retry: bool = False, headers: Mapping[str, str] | None = None
) -> Response:
    extra = {"Retry-After": "5"} if retry else {}
    extra = {**(headers or {}), **extra}
    if pages.wants_page(request):
        return pages.page(request, problem, extra)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, extra, MEDIA_TYPE)
