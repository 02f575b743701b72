"""What every request passes through: an id, two safety headers, a limit on small bodies."""

from __future__ import annotations

import re
import secrets

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class RequestContext:
    """ASGI middleware; ``streaming`` names the paths whose bodies limit themselves."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, streaming: frozenset[str]) -> None:
        self._app, self._limit, self._streaming = app, max_body_bytes, streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        scope["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        if scope["path"] not in self._streaming:
            receive = self._limited(receive)
        await self._app(scope, receive, send_with_headers)

    def _limited(self, receive: Receive) -> Receive:
        arrived = 0

        async def receive_some() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._limit:
                raise HTTPException(413, f"the body is larger than {self._limit} bytes")
            return message

        return receive_some
