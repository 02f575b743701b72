"""What every request passes through: an id, safety headers, limits on the size and pace of bodies."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Mapping

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.jobs.text import clean
from service.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
log = logging.getLogger(__name__)
SLOWEST_BYTES_PER_S = 1024
# Where a route sets one of these itself, its own counts.
SAFE: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestContext:
    """ASGI middleware.

    Args:
        app: What serves the request.
        max_body_bytes: Limit of a body.
        streaming: The paths whose bodies limit their size themselves; with a final slash, all below.
        patience_s: How much later than at ``SLOWEST_BYTES_PER_S`` a body may arrive, and how long it
            may pause.
        metrics: Where requests are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        streaming: frozenset[str],
        patience_s: float,
        metrics: Metrics,
    ) -> None:
        self._app, self._limit, self._streaming = app, max_body_bytes, streaming
        self._patience_s, self._metrics = patience_s, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        scope["request_id"] = request_id
        logs.request_id.set(request_id)
        status, began = 0, time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        limit = None if self._streams(scope["path"]) else self._limit
        try:
            await self._app(scope, self._limited(receive, limit), send_with_headers)
        finally:
            took = time.monotonic() - began
            # Without a route it was refused before one was chosen, or there is none: one label for all.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(scope["method"], route, status or 500, took)
            log.info("%s %s: %s in %.3f s", scope["method"], clean(scope["path"], 300), status or 500, took)

    def _streams(self, path: str) -> bool:
        return path in self._streaming or path[: path.rfind("/") + 1] in self._streaming

    def _limited(self, receive: Receive, limit: int | None) -> Receive:
        began, arrived, complete = time.monotonic(), 0, False

        async def receive_some() -> Message:
            nonlocal arrived, complete
            if complete:  # what follows is the end of the connection, whenever that comes
                return await receive()
            left = began + self._patience_s + arrived / SLOWEST_BYTES_PER_S - time.monotonic()
            try:
                # A pause has its own limit: after many bytes a peer that vanished would have hours left.
                message = await asyncio.wait_for(receive(), max(0.0, min(left, self._patience_s)))
            except TimeoutError as error:
                raise HTTPException(408, "the body arrives too slowly", {"Connection": "close"}) from error
            complete = not message.get("more_body", False)
            arrived += len(message.get("body", b""))
            if limit is not None and arrived > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        return receive_some
