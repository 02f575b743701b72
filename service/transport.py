"""HTTP for the clients: what to ask and when to ask again, written once; two ways to carry it out.

The client's logic is generators, *flows*: they yield a step (``Send``, ``Receive`` or ``Pause``),
are given its result or error, and return an answer. ``Transport`` takes the steps one after the
other, ``AsyncTransport`` awaits them. Neither knows what a flow is about, and no flow knows who
runs it.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx

Answer = TypeVar("Answer")

RETRIED = frozenset({423, 429, 502, 503, 504})
#: Refused because of where an upload stood; each try asks for that first.
RETRIED_CODES = frozenset({"offset_mismatch"})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 8.0
# Before a server has answered once, its absence is more likely a wrong address than a restart.
FIRST_CONTACT_S = 2.0
TIMEOUT_S = 30.0


class ClientError(Exception):
    """Base of what a client raises."""


class ApiError(ClientError):
    """The service refused: the fields of its problem document."""

    def __init__(self, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors

    @property
    def may_pass(self) -> bool:
        """Whether the same may be granted later."""
        return self.status in RETRIED or self.code in RETRIED_CODES


class Unreachable(ClientError):
    """The service does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} does not answer: {reason}")
        self.url, self.reason = url, reason


class KeyUnusable(ClientError):
    """The API key cannot be sent."""

    def __init__(self) -> None:
        super().__init__("the API key holds characters that no key has; copy it again")


class Sink(Protocol):
    """Takes the body of a download as it comes."""

    def begin(self, response: httpx.Response) -> None:
        """The answer's head has arrived."""

    def write(self, chunk: bytes) -> None:
        """So has a part of its body."""


@dataclass(frozen=True, kw_only=True)
class Send:
    """A request, tried once; its result is the answer, which is 2xx or 304.

    Attributes:
        content: The body, or a function that makes it anew.
        options: For ``httpx.Client.request``.
    """

    method: str
    path: str
    content: bytes | Callable[[], Iterator[bytes]] | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Receive:
    """A download, tried once, whose body goes to ``sink``."""

    path: str
    sink: Sink
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


Step = Send | Receive | Pause
Flow = Generator[Step, Any, Answer]


class Patience:
    """How long a service may be away, and how often it is asked meanwhile.

    Args:
        url: Where it is, for the error.
        patience_s: For how long after the first failure, if it has answered before.
    """

    def __init__(self, url: str, patience_s: float) -> None:
        self._url, self._patience_s, self._met = url, patience_s, False

    def persist(self, once: Callable[[], Flow[Answer]], until: float = math.inf) -> Flow[Answer]:
        """Try ``once`` again and again while it fails in a way that may pass.

        Args:
            once: Makes the flow of one try.
            until: Give up at this ``time.monotonic()`` at the latest.

        Raises:
            ApiError: The service refused.
            Unreachable: It did not answer in time.
        """
        pause, began, failing_since = FIRST_PAUSE_S, time.monotonic(), math.inf
        while True:
            try:
                answer = yield from once()
            except (httpx.TransportError, ApiError) as error:
                now = time.monotonic()
                # Not since the beginning: a try that sends or waits may outlast any patience by itself.
                failing_since = min(failing_since, now)
                enough = failing_since + self._patience_s if self._met else began + FIRST_CONTACT_S
                left = min(enough, until) - now
                wait = pause * random.uniform(0.5, 1.0)
                if isinstance(error, ApiError):
                    self._met = True
                    if not error.may_pass or left < wait:
                        raise
                elif left < wait:
                    raise Unreachable(self._url, str(error) or type(error).__name__) from error
                yield Pause(wait)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._met = True
                return answer

    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | Callable[[], Iterator[bytes]] | None = None,
        until: float = math.inf,
        **options: Any,
    ) -> Flow[httpx.Response]:
        """Send a request until it is answered; see ``persist``."""
        send = Send(method=method, path=path, content=content, options=options)
        answer: httpx.Response = yield from self.persist(lambda: take(send), until)
        return answer


def take(step: Step) -> Flow[Any]:
    """One step as a flow."""
    return (yield step)


class Transport:
    """Carries flows out, blocking; safe to share among threads."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._http = httpx.Client(**_options(url, api_key))

    def run(self, flow: Flow[Answer]) -> Answer:
        """Run a flow to its end; what it returns or raises."""
        return _result(flow, self._take)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _take(self, step: Step) -> Any:
        match step:
            case Pause():
                time.sleep(step.seconds)
                return None
            case Send():
                content = step.content() if callable(step.content) else step.content
                return checked(self._http.request(step.method, step.path, content=content, **step.options))
            case Receive():
                with self._http.stream("GET", step.path, headers=step.headers) as response:
                    if response.is_error:
                        response.read()
                    step.sink.begin(checked(response))
                    for chunk in response.iter_raw():  # as it comes: what is here is not fetched again
                        step.sink.write(chunk)
                return None


class AsyncTransport:
    """Carries flows out on an event loop; reading and writing files blocks it, a chunk at a time."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._http = httpx.AsyncClient(**_options(url, api_key))

    async def run(self, flow: Flow[Answer]) -> Answer:
        """Run a flow to its end; what it returns or raises."""
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._take(step)
                except (httpx.HTTPError, ClientError) as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        finally:
            flow.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _take(self, step: Step) -> Any:
        match step:
            case Pause():
                await asyncio.sleep(step.seconds)
                return None
            case Send():
                content = _later(step.content()) if callable(step.content) else step.content
                answer = await self._http.request(step.method, step.path, content=content, **step.options)
                return checked(answer)
            case Receive():
                async with self._http.stream("GET", step.path, headers=step.headers) as response:
                    if response.is_error:
                        await response.aread()
                    step.sink.begin(checked(response))
                    async for chunk in response.aiter_raw():
                        step.sink.write(chunk)
                return None


def _result(flow: Flow[Answer], take: Callable[[Step], Any]) -> Answer:
    try:
        step = next(flow)
        while True:
            try:
                result = take(step)
            except (httpx.HTTPError, ClientError) as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    finally:
        flow.close()


async def _later(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _options(url: str, api_key: str | None) -> dict[str, Any]:
    key = (api_key or "").strip()  # a file or a variable it was read from may end with a line's end
    if re.fullmatch(r"[!-~]*", key) is None:
        raise KeyUnusable
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": TIMEOUT_S, "follow_redirects": False}


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
