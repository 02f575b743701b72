"""Reading a posted form: URL-encoded, small, and with the token of the page it came from.

Whoever is not signed in has no secret of their own, and so no token others could not get; therefore the
browser is asked, too, whose page sent the form.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from service.errors import ArgumentInvalid, FormRefused, OriginRefused
from service.jobs.text import clean
from service.web.session import COOKIE, TOKEN_HEADER, Sessions

MOST_FIELDS = 100


class Form(dict[str, str]):
    """The last value of each field; a field that was not sent is empty."""

    def __missing__(self, key: str) -> str:
        return ""


async def read(request: Request) -> Form:
    """The form of this request.

    Raises:
        OriginRefused: A page of another site sent it.
        FormRefused: It does not carry the token of this session.
    """
    _require_own_page(request)
    body = await request.body()
    try:
        sent = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise ArgumentInvalid(field="form", reason="expected a URL-encoded form in UTF-8") from error
    form = Form({name: values[-1] for name, values in sent.items()})
    sessions: Sessions = request.app.state.parts.sessions
    token = form["csrf"] or request.headers.get(TOKEN_HEADER, "")
    if not sessions.genuine(request.cookies.get(COOKIE, ""), token):
        raise FormRefused
    return form


def _require_own_page(request: Request) -> None:
    """Refuse what a browser says comes from elsewhere; no page can have it say otherwise.

    By ``Sec-Fetch-Site``, which holds whatever a proxy makes of the host; browsers that do not send it,
    as without TLS, send ``Origin``.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in {"same-origin", "none"}
    else:
        hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
        ours = origin is None or origin.partition("://")[2] in hosts
    if not ours:
        raise OriginRefused(origin=clean(origin or f"a {site} page", 100))


FormDep = Annotated[Form, Depends(read)]
