"""Telling somebody else's server that a job has ended, without being made to call anywhere else.

Off unless the installation names the origins that may be called. An address is resolved once,
judged, and then connected to as it is: a name that means something else a moment later (DNS
rebinding) gains nothing. Redirects are not followed. Messages are signed by the scheme of
https://www.standardwebhooks.com, and sent again until one is answered with 2xx.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import httpx
from sqlalchemy import select, update

from service.errors import CallbackForbidden
from service.jobs.database import Database
from service.jobs.records import rows_changed
from service.jobs.tables import Delivery, Job, clock
from service.jobs.text import clean
from service.schemas import JobView
from service.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"https": 443, "http": 80}
#: Of a whole try: somebody who drips an answer is never silent for long, and holds up all others.
TIMEOUT_S = 10.0
#: While one process sends a message no other does; longer than a try can take.
TURN_S = 60.0
FIRST_PAUSE_S = 5.0
MOST_TRIES = 8  # the last one about a day after the job has ended
AT_ONCE = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Where callbacks may go.

    Attributes:
        origins: Scheme, host and port that may be called.
        networks: Networks that may be reached although they are not public.
    """

    origins: frozenset[tuple[str, str, int]]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy that ``settings`` name."""
        networks = tuple(ipaddress.ip_network(text) for text in listed(settings.webhook_networks))
        return cls(
            origins=frozenset(origin(text) for text in listed(settings.webhook_origins)), networks=networks
        )

    def require(self, url: str) -> None:
        """Raise ``CallbackForbidden`` unless ``url`` may be called; looks nothing up."""
        if not self.origins:
            raise CallbackForbidden(reason="this installation makes no callbacks")
        if "@" in urlsplit_of(url).netloc:
            raise CallbackForbidden(reason="it must not hold a user name or a password")
        if origin(url) not in self.origins:
            raise CallbackForbidden(reason="its scheme, host and port are not among those that may be called")

    def address(self, url: str) -> str:
        """The address to connect to.

        Raises:
            CallbackForbidden: The host has no address, or one that must not be reached.
        """
        self.require(url)
        _, host, port = origin(url)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise CallbackForbidden(reason=f"{clean(host, 100)!r} has no address") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        for address in addresses:
            if not self._may_reach(address):
                raise CallbackForbidden(reason=f"{clean(host, 100)!r} is at {address}, which is not public")
        return addresses[0]

    def _may_reach(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None) or address
        if any(mapped in network for network in self.networks):
            return True
        # NAT64 carries any IPv4 address inside a public-looking one.
        inside = isinstance(address, ipaddress.IPv6Address) and address in ipaddress.ip_network(
            "64:ff9b::/96"
        )
        return bool(mapped.is_global) and not mapped.is_multicast and not inside


def listed(text: str) -> list[str]:
    """The parts of a setting with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def urlsplit_of(url: str) -> SplitResult:
    """The parts of a URL of plain characters."""
    if not url.isascii() or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in url):
        raise CallbackForbidden(reason="it is not a URL of plain ASCII characters")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise CallbackForbidden(reason="it is not a URL") from error


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL."""
    parts = urlsplit_of(url)
    try:
        port = parts.port
    except ValueError as error:
        raise CallbackForbidden(reason="its port is not a number") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise CallbackForbidden(reason="it has to begin with https:// or http:// and a host")
    return parts.scheme, parts.hostname.rstrip("."), PORTS[parts.scheme] if port is None else port


def key_of(secret: str) -> bytes:
    """The key in a secret: what follows ``whsec_`` in base64, or the text itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ has to be base64") from error


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    digest = hmac.new(key_of(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Sends what is due; any number of processes may do this at once."""

    db: Database
    policy: Policy
    secret: str
    first_pause_s: float = FIRST_PAUSE_S

    def deliver(self) -> int:
        """One round; the number of messages that were answered with 2xx."""
        due = select(Delivery.job_id, Delivery.due_at).where(Delivery.due_at <= clock())
        with self.db.read() as session:
            found = session.execute(due.order_by(Delivery.due_at).limit(AT_ONCE)).all()
        return sum(self._try(job_id) for job_id, due_at in found if self._take_turn(job_id, due_at))

    def _take_turn(self, job_id: str, due_at: float | None) -> bool:
        mine = update(Delivery).where(Delivery.job_id == job_id, Delivery.due_at == due_at)
        with self.db.write() as session:
            taken = mine.values(due_at=clock() + TURN_S, tries=Delivery.tries + 1)
            return rows_changed(session, taken) == 1

    def _try(self, job_id: str) -> bool:
        with self.db.read() as session:
            job, tries = session.get(Job, job_id), session.get(Delivery, job_id)
            now = session.scalar(select(clock())) or 0.0
        if job is None or tries is None or job.callback_url is None:
            return False
        done, outcome = self._send(job.callback_url, job, int(now))
        if not done:
            log.warning("%s: callback, try %d: %s", job_id, tries.tries, outcome)
        pause = self.first_pause_s * 4 ** (tries.tries - 1)
        again = None if done or tries.tries >= MOST_TRIES else clock() + pause
        told = update(Delivery).where(Delivery.job_id == job_id)
        with self.db.write() as session:
            session.execute(
                told.values(due_at=again, outcome=clean(outcome, 250), delivered_at=now if done else None)
            )
        return done

    def _send(self, url: str, job: Job, now: int) -> tuple[bool, str]:
        """Whether it was taken, and what was answered."""
        body, message_id = message(job, now), f"msg_{job.id}"
        parts = urlsplit_of(url)
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": "sosp",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self.secret, message_id, now, body),
        }
        try:
            target = httpx.URL(url).copy_with(host=self.policy.address(url))
            told = {"sni_hostname": parts.hostname}  # the certificate has to be the name's
            answer = asyncio.run(_post(target, content=body, headers=headers, extensions=told))
            return answer.is_success, f"status {answer.status_code}"
        except TimeoutError:
            return False, f"no answer within {TIMEOUT_S:g} s"
        except (CallbackForbidden, httpx.HTTPError, httpx.InvalidURL) as error:
            return False, str(error) or type(error).__name__


async def _post(target: httpx.URL, **sent: Any) -> httpx.Response:
    """The head of the answer; what else it says is not read."""
    # Nothing of the environment: no proxy, no credentials of a .netrc file.
    async with (
        asyncio.timeout(TIMEOUT_S),
        httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=False) as http,
        http.stream("POST", target, **sent) as answer,
    ):
        return answer


def message(job: Job, now: int) -> bytes:
    """What is sent: the job as ``GET /v1/jobs/{id}`` shows it."""
    told: dict[str, Any] = {
        "type": f"job.{job.state}",
        "timestamp": datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(),
        "data": JobView.of(job).model_dump(mode="json"),
    }
    return json.dumps(told).encode()
