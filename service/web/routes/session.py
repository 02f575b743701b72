"""``/sign-in`` and ``/sign-out``: an API key shown once, a cookie in its place."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.deps import OwnPartsDep
from service.errors import TooManyRequests
from service.pace import Pace
from service.web.forms import FormDep
from service.web.paths import SIGN_IN, is_local
from service.web.rendering import render
from service.web.session import COOKIE, LIFE_S

FAILURES_PER_MINUTE = 20

router = APIRouter(include_in_schema=False)
pace = Pace(FAILURES_PER_MINUTE)


@router.get(SIGN_IN)
def form(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Ask for a key."""
    return render(request, "sign_in.html", next=next if is_local(next) else "/", refused=False)


@router.post(SIGN_IN)
async def sign_in(request: Request, form: FormDep, parts: OwnPartsDep) -> Response:
    """Trade a valid key for a cookie."""
    target = form["next"] if is_local(form["next"]) else "/"
    caller = await run_in_threadpool(parts.keys.holder, form["key"].strip())
    if caller is None:  # only failures count: a whole office may share the address of its proxy
        address = request.client.host if request.client else "unknown"
        if wait := pace.wait_s(address):
            raise TooManyRequests(retry_after_s=math.ceil(wait))
        return render(request, "sign_in.html", 401, next=target, refused=True)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        COOKIE,
        parts.sessions.begin(caller),
        max_age=LIFE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, form: FormDep) -> Response:
    """Forget the cookie."""
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer
