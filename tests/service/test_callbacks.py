"""Callbacks: signed, repeated until taken, and never sent anywhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.callbacks import MOST_TRIES, Callbacks, Policy
from service.deps import assemble
from service.errors import CallbackForbidden, CannotStart
from service.jobs.states import JobState
from service.jobs.tables import Delivery
from service.settings import Settings
from tests.live import FAST, Stack, model_bytes, npz_bytes, running_stack, until
from tests.service.world import World

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@dataclass
class Receiver:
    """A server that notes what it is sent, and answers as it is told to."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?of=me"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(made.answers.pop(0) if made.answers else 200)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def settings(tmp_path: Path, receiver: Receiver, **more: object) -> Settings:
    origins = {"webhook_origins": f"http://127.0.0.1:{receiver.port}", "webhook_secret": SECRET}
    reachable = {"webhook_networks": "127.0.0.0/8"}
    return Settings(data_dir=tmp_path, **{**FAST, **origins, **reachable, **more})  # type: ignore[arg-type]


def ended(world: World, url: str) -> str:
    """A job with a callback that was cancelled."""
    job, _ = world.jobs.submit(replace(world.order, callback_url=url))
    world.jobs.cancel(job.id)
    return job.id


def delivery(world: World, job_id: str) -> Delivery:
    with world.parts.db.read() as session:
        return session.get_one(Delivery, job_id)


def test_a_message_is_signed_and_sent_until_it_is_taken(tmp_path: Path, receiver: Receiver) -> None:
    world = World.open(settings(tmp_path, receiver))
    callbacks = replace(world.parts.callbacks, first_pause_s=0.0)
    job_id = ended(world, receiver.url)
    receiver.answers = [500, 302]
    assert [callbacks.deliver() for _ in range(5)] == [0, 0, 1, 0, 0]
    assert len(receiver.got) == 3
    for headers, body in receiver.got:
        told = json.loads(body)
        assert (told["type"], told["data"]["id"]) == ("job.cancelled", job_id)
        signed = f"msg_{job_id}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"
        assert headers["webhook-id"] == f"msg_{job_id}"
        assert headers["host"] == f"127.0.0.1:{receiver.port}"
    row = delivery(world, job_id)
    assert (row.due_at, row.tries, row.outcome) == (None, 3, "status 200")
    assert row.delivered_at
    world.close()


def test_who_never_takes_it_is_left_alone_in_the_end(tmp_path: Path, receiver: Receiver) -> None:
    world = World.open(settings(tmp_path, receiver))
    callbacks = replace(world.parts.callbacks, first_pause_s=0.0)
    job_id = ended(world, receiver.url)
    receiver.answers = [503] * 50
    for _ in range(MOST_TRIES + 3):
        callbacks.deliver()
    assert len(receiver.got) == MOST_TRIES
    assert delivery(world, job_id).due_at is None
    patient = ended(world, receiver.url)  # with the usual pauses there is one try for now
    for _ in range(3):
        world.parts.callbacks.deliver()
    assert len(receiver.got) == MOST_TRIES + 1
    assert delivery(world, patient).tries == 1
    world.close()


def test_an_answer_that_drips_holds_nobody_up(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.callbacks.TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as dripping:
        slow = f"http://127.0.0.1:{dripping.getsockname()[1]}"
        dripper = threading.Thread(target=drip, args=(dripping,))
        dripper.start()
        origins = f"http://127.0.0.1:{receiver.port},{slow}"
        world = World.open(settings(tmp_path, receiver, webhook_origins=origins))
        first, second = ended(world, f"{slow}/"), ended(world, receiver.url)
        began = time.monotonic()
        assert world.parts.callbacks.deliver() == 1
        assert time.monotonic() - began < 5
        assert delivery(world, first).outcome == "no answer within 1 s"
        assert delivery(world, second).delivered_at
        world.close()
        dripper.join()


def drip(server: socket.socket) -> None:
    """Answer one request without an end: a byte now and again, for ten seconds at most."""
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.recv(2**16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            time.sleep(0.1)
            connection.sendall(b"x")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "http://127.0.0.1:1/",
        "http://[::1]/",
        "http://0x7f000001/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://user:pass@hooks.example.com/",
        "https://hooks.example.com@169.254.169.254/",
        "https://hooks.example.com:22/",
        "http://hooks.example.com/",
        "https://hooks.example.com.evil.org/",
        "https://hooks.example.com:99999/",
        "https://[hooks.example.com/",
        "https://hooks.example.com\\@evil.org/",
        "https://hooks.example.com/\r\nX-Evil: 1",
        "https://höoks.example.com/",
        "//hooks.example.com/",
        "",
    ],
)
def test_only_the_origins_named_are_called(url: str) -> None:
    policy = Policy(origins=frozenset({("https", "hooks.example.com", 443)}), networks=())
    policy.require("https://hooks.example.com/path?x=1")
    policy.require("https://HOOKS.example.com:443/")
    with pytest.raises(CallbackForbidden):
        policy.require(url)


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("93.184.216.34", "", True),
        ("2606:2800:220:1::1", "", True),
        ("127.0.0.1", "", False),
        ("10.1.2.3", "", False),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("169.254.169.254", "", False),
        ("100.64.0.1", "", False),
        ("0.0.0.0", "", False),
        ("224.0.0.1", "", False),
        ("::1", "", False),
        ("::ffff:127.0.0.1", "", False),
        ("fe80::1", "", False),
        ("fd00::1", "", False),
        ("64:ff9b::a9fe:a9fe", "", False),
    ],
)
def test_a_name_that_means_a_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str, networks: str, allowed: bool
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
    configured = Settings(
        webhook_origins="https://hooks.example.com", webhook_networks=networks, webhook_secret=SECRET
    )
    policy = Policy.of(configured)
    if allowed:
        assert policy.address("https://hooks.example.com/") == address
    else:
        with pytest.raises(CallbackForbidden, match="not public"):
            policy.address("https://hooks.example.com/")


def test_a_name_that_changes_its_meaning_is_a_failed_try(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.open(settings(tmp_path, receiver, webhook_networks=""))
    callbacks: Callbacks = world.parts.callbacks
    job_id = ended(world, receiver.url)
    assert callbacks.deliver() == 0
    assert receiver.got == []
    assert "not public" in delivery(world, job_id).outcome
    world.close()


def test_callbacks_need_a_secret_and_places(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        Settings(data_dir=tmp_path, webhook_origins="https://hooks.example.com")
    for wrong in (
        {"webhook_origins": "hooks"},
        {"webhook_networks": "all"},
        {"webhook_secret": "whsec_" + "?" * 30},
    ):
        with pytest.raises(CannotStart, match="webhook_"):
            assemble(Settings(data_dir=tmp_path, **({"webhook_secret": SECRET} | wrong)))


def test_over_rest_they_are_off_until_configured_and_then_arrive(
    api: Stack, tmp_path: Path, receiver: Receiver
) -> None:
    refused = order(api, receiver.url)
    assert (refused[0], refused[1]["code"]) == (422, "callback_forbidden")
    configured = settings(tmp_path, receiver)
    named = {name: getattr(configured, name) for name in Settings.model_fields if "webhook" in name}
    with running_stack(tmp_path, **named) as stack:
        assert order(stack, "https://example.com/")[1]["code"] == "callback_forbidden"
        status, job = order(stack, receiver.url)
        assert (status, job["callback_url"]) == (202, receiver.url)
        assert stack.http.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == JobState.CANCELLED
        until(lambda: receiver.got)
        assert json.loads(receiver.got[0][1])["data"]["id"] == job["id"]
        again = stack.http.post(f"/v1/jobs/{job['id']}/retry").json()
        assert again["callback_url"] == receiver.url


def order(stack: Stack, url: str) -> tuple[int, dict[str, str]]:
    told = {
        "model_id": stack.http.post("/v1/models", content=model_bytes()).json()["id"],
        "dataset_id": stack.http.post("/v1/datasets", content=npz_bytes()).json()["id"],
        "callback_url": url,
    }
    answer = stack.http.post("/v1/jobs", json=told)
    return answer.status_code, answer.json()
