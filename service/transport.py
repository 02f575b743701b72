"""HTTP for the client: one request, tried again while that can help, errors as exceptions."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

Answer = TypeVar("Answer")

RETRIED = frozenset({423, 429, 502, 503, 504})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 8.0
# Before a server has answered once, its absence is more likely a wrong address than a restart.
FIRST_CONTACT_S = 2.0


class ClientError(Exception):
    """Base of what a client raises."""


class ApiError(ClientError):
    """The service refused: the fields of its problem document."""

    def __init__(self, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors


class Unreachable(ClientError):
    """The service does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} does not answer: {reason}")
        self.url, self.reason = url, reason


class Transport:
    """Requests to one service.

    Args:
        url: Where it is, such as ``http://127.0.0.1:8000``.
        api_key: Sent as a bearer token.
        patience_s: How long a service that has answered before may be away.
    """

    def __init__(self, url: str, api_key: str | None, patience_s: float) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30.0, follow_redirects=False)
        self._url, self._patience_s, self._met = url, patience_s, False

    def call(
        self,
        method: str,
        path: str,
        *,
        content: Callable[[], Iterator[bytes]] | None = None,
        until: float | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a request until it is answered; the answer is 2xx or 304.

        Args:
            method: HTTP method.
            path: Path and nothing else.
            content: Makes the body anew for each try.
            until: Give up at this ``time.monotonic()``; by default after ``patience_s``.
            options: For ``httpx.Client.request``.

        Raises:
            ApiError: The service refused.
            Unreachable: It did not answer in time.
        """

        def send() -> httpx.Response:
            body = None if content is None else content()
            return checked(self._http.request(method, path, content=body, **options))

        return self.persist(send, until)

    def once(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One try at a request, for use inside ``persist``."""
        return checked(self._http.request(method, path, **options))

    def persist(self, send: Callable[[], Answer], until: float | None = None) -> Answer:
        """Call ``send`` again and again while it fails in a way that may pass."""
        pause = FIRST_PAUSE_S
        began = time.monotonic()
        while True:
            try:
                answer = send()
            except (httpx.TransportError, ApiError) as error:
                patience = self._patience_s if self._met else FIRST_CONTACT_S
                left = (began + patience if until is None else until) - time.monotonic()
                wait = pause * random.uniform(0.5, 1.0)
                if isinstance(error, ApiError):
                    self._met = True
                    if error.status not in RETRIED or left < wait:
                        raise
                elif left < wait:
                    raise Unreachable(self._url, str(error) or type(error).__name__) from error
                time.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._met = True
                return answer

    @contextmanager
    def stream(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """One try at a download; the body is read by the caller."""
        with self._http.stream("GET", path, headers=headers) as response:
            if response.is_error:
                response.read()
            yield checked(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def checked(response: httpx.Response) -> httpx.Response:
    """The response; ``ApiError`` if it is an error."""
    if response.is_success or response.status_code == 304:
        return response
    try:
        problem = response.json()
    except ValueError:  # not from the service itself: a proxy, or another program on that port
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    raise ApiError(
        response.status_code,
        problem.get("code", f"http_{response.status_code}"),
        problem.get("detail", response.reason_phrase),
        problem.get("errors", []),
    )
