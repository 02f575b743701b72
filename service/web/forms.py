"""Reading a posted form: URL-encoded, small, and with the token of the page it came from."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from service.errors import ArgumentInvalid, FormRefused
from service.web.session import COOKIE, TOKEN_HEADER, Sessions

MOST_FIELDS = 100


class Form(dict[str, str]):
    """The last value of each field; a field that was not sent is empty."""

    def __missing__(self, key: str) -> str:
        return ""


async def read(request: Request) -> Form:
    """The form of this request.

    Raises:
        FormRefused: It does not carry the token of this session.
    """
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


FormDep = Annotated[Form, Depends(read)]
