"""From a template and what it may show to an answer."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.jobs.owners import Caller
from service.web import words
from service.web.session import COOKIE, Sessions
from sosp_core import units

# What a page may do: show itself, run our own scripts, talk to us. ``data:`` is for small pictures.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# "no-referrer" would have browsers send our own forms with the origin "null".
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin", "Vary": "Accept, Cookie"}
DRAWINGS = "network.css"
STATIC: Mapping[str, str] = {
    "style.css": "text/css",
    "network.css": "text/css",
    "page.js": "text/javascript",
    "start.js": "text/javascript",
    "recipe.js": "text/javascript",
    "job.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}


def render(
    request: Request, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **shown: Any
) -> HTMLResponse:
    """The page ``template`` makes of ``shown``."""
    sessions: Sessions = request.app.state.parts.sessions
    cookie = request.cookies.get(COOKIE, "")
    html = (
        environment()
        .get_template(template)
        .render(
            token=sessions.token(cookie),
            signed_in=bool(cookie) and isinstance(request.scope.get("caller"), Caller),
            path=request.url.path,
            **shown,
        )
    )
    return HTMLResponse(html, status, {**HEADERS, **(headers or {})})


@cache
def environment() -> Environment:
    """The templates; whatever came from outside is escaped, and a missing name is an error."""
    made = Environment(
        loader=PackageLoader("service.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": units.count,
        "size": units.size,
        "percent": units.percent,
        "milliseconds": units.milliseconds,
        "seconds": words.seconds,
        "moment": moment,
    }
    made.globals |= {"static": static}
    return made


def moment(when: datetime.datetime) -> str:
    """A time as ``2026-03-04 05:06 UTC``."""
    return when.strftime("%Y-%m-%d %H:%M UTC")


@cache
def static(name: str) -> str:
    """The address of a static file, which changes with its content."""
    return f"/static/{name}?{hashlib.sha256(content(name)).hexdigest()[:12]}"


@cache
def content(name: str) -> bytes:
    """A static file; drawings look the same here and in the report, which they come from."""
    if name == DRAWINGS:
        return files("sosp_core.report").joinpath("templates", name).read_bytes()
    return files("service.web").joinpath("static", name).read_bytes()
