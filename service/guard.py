"""Who may ask: looked at before a byte of the body is read or a route is chosen.

With keys, every request under ``/v1``, to ``/metrics`` and to a page names one, or has the cookie of
somebody who signed in with one. Without, as long as none was ever made, only this machine is served,
under its own names, and no page of another site, nor anything a proxy says it passes on.
"""

from __future__ import annotations

import ipaddress
import math
import re
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from service import handlers
from service.errors import (
    Forbidden,
    FormRefused,
    HostRefused,
    OriginRefused,
    ProxyRefused,
    TooManyRequests,
    Unauthenticated,
)
from service.jobs.keys import Keys
from service.jobs.owners import OURSELVES, Caller
from service.jobs.tables import Role
from service.jobs.text import clean
from service.pace import Pace
from service.web.paths import is_page
from service.web.session import COOKIE, TOKEN_HEADER, Sessions
from sosp_core.errors import SospError

GUARDED = ("/v1", "/metrics")
ADMINS = ("/metrics",)
PROXIED = re.compile(r"via|forwarded|x-forwarded-.*|x-real-ip")
# A form brings its token in the body, which the page that reads it checks; see service.web.forms.
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware; leaves a ``Caller`` in the scope."""

    def __init__(
        self, app: ASGIApp, *, keys: Keys, sessions: Sessions, require_keys: bool, per_minute: int
    ) -> None:
        self._app, self._keys, self._require_keys = app, keys, require_keys
        self._sessions = sessions
        self._pace = Pace(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http":
            try:
                scope["caller"] = await self._admit(scope)
            except SospError as error:
                answer = await handlers.on_deliberate(Request(scope), error)
                await answer(scope, receive, send)
                return
            except DBAPIError as error:
                answer = await handlers.on_database(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Caller | None:
        headers = Headers(scope=scope)
        path = scope["path"]
        guarded = is_page(path) or any(path == place or path.startswith(f"{place}/") for place in GUARDED)
        if not self._require_keys and guarded:  # a key that was made once is never forgotten
            self._require_keys = await self._any_key(headers)
        if not self._require_keys:
            require_this_machine(scope, headers)
            return self._paced(OURSELVES) if guarded else None
        if not guarded:
            return None
        caller = await self._holder(scope, headers)
        if path in ADMINS and not caller.everything:
            raise Forbidden(role=Role.ADMIN)
        return caller

    async def _any_key(self, headers: Headers) -> bool:
        """Whether a key was ever made; whoever shows a key, or a cookie, never gets an old answer."""
        known = self._keys.remembered()
        if known is None or "authorization" in headers or "cookie" in headers:
            return await run_in_threadpool(self._keys.any)
        return known

    async def _holder(self, scope: Scope, headers: Headers) -> Caller:
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if cookie and "authorization" not in headers:
            return await self._signed_in(scope, headers, cookie)
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise self._refusal(scope, "this takes an API key")
        caller = await run_in_threadpool(self._keys.holder, text.strip())
        if caller is None:
            raise self._refusal(scope, "the API key is not valid")
        return self._paced(caller)

    async def _signed_in(self, scope: Scope, headers: Headers, cookie: str) -> Caller:
        """Who has that cookie; a browser sends it along whoever made it ask, so changes take a token."""
        caller = await run_in_threadpool(self._sessions.holder, cookie)
        if caller is None:
            raise self._refusal(scope, "you are not signed in any more")
        changes = scope["method"] not in READING and not is_page(scope["path"])
        if changes and not self._sessions.genuine(cookie, headers.get(TOKEN_HEADER, "")):
            raise FormRefused
        return self._paced(caller)

    def _refusal(self, scope: Scope, reason: str) -> SospError:
        """One more try without success from that address."""
        address = (scope.get("client") or ("unknown",))[0]
        wait = self._pace.wait_s(f"address:{address}")
        return TooManyRequests(retry_after_s=math.ceil(wait)) if wait else Unauthenticated(reason=reason)

    def _paced(self, caller: Caller) -> Caller:
        if wait := self._pace.wait_s(caller.owner):
            raise TooManyRequests(retry_after_s=math.ceil(wait))
        return caller


def require_this_machine(scope: Scope, headers: Headers) -> None:
    """Refuse what comes from elsewhere, or from a web page that made a browser of this machine ask.

    A page can have its own name resolve to 127.0.0.1 (DNS rebinding): then the Host header tells. A proxy
    on this machine may pass others' requests on under its own address; not every one says so.
    """
    if passed_on := next(filter(PROXIED.fullmatch, headers.keys()), None):
        raise ProxyRefused(header=clean(passed_on, 100))
    host = headers.get("host", "")
    client = scope.get("client")
    if client is not None and client[0] and not is_loopback(client[0]):
        raise Unauthenticated(reason="without API keys only this machine is served")
    if not is_loopback(_name_in(f"//{host}")):
        raise HostRefused(host=clean(host, 100))
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_name_in(origin)):
        raise OriginRefused(origin=clean(origin, 100))


def is_loopback(name: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower().rstrip(".") == "localhost"


def _name_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
