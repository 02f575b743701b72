"""Real parts for tests: the API and workers as processes of their own, both brokers, tiny files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from service.client import Client, Job
from service.jobs.database import Database
from service.jobs.tables import Worker
from service.schemas import UploadView
from service.settings import Settings

STANDIN = Path(__file__).with_name("standin")
# Real durations divided by about twenty: what is tested is the order of events.
FAST: dict[str, Any] = {
    "lease_s": 2.0,
    "heartbeat_s": 0.5,
    "cancel_poll_s": 0.2,
    "cancel_grace_s": 1.0,
    "worker_beat_s": 0.5,
    "worker_ttl_s": 2.5,
    "reap_interval_s": 0.3,
    "republish_after_s": 1.0,
    "max_attempts": 2,
    "retry_pause_s": 0.2,
    "requests_per_minute": 10**6,
    "free_space_floor_bytes": 0,
    "log_level": "warning",
}


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field_bytes(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def model_bytes(*script: list[Any]) -> bytes:
    """An ONNX model as far as the API looks, whose ``doc_string`` tells the stand-in what to do."""
    doc = b"script:" + json.dumps(script).encode() + b":end"
    graph = field_bytes(2, b"g")
    opset = varint(2 << 3) + varint(17)
    return varint(1 << 3) + varint(8) + field_bytes(6, doc) + field_bytes(7, graph) + field_bytes(8, opset)


def npy_bytes(descr: str = "<f4", shape: tuple[int, ...] = (2, 3), values: bytes | None = None) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    count = 1
    for length in shape:
        count *= length
    body = bytes(4 * count) if values is None else values
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz_bytes() -> bytes:
    return zip_bytes({"x.npy": npy_bytes()})


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true within {timeout_s} s"
        time.sleep(0.05)
    return value


def lines(path: Path) -> int:
    """How many lines a file that may not exist yet has."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def links(length: int) -> str:
    """What the stand-in's ``chain`` of that length ends with."""
    link = ""
    for _ in range(length):
        link = hashlib.sha256(link.encode()).hexdigest()
    return link


@dataclass
class Stack:
    """An API on a free port and any number of workers, on one data directory."""

    settings: Settings
    listener: socket.socket
    scripted: bool
    http: httpx.Client
    log: Path | None = None  # where the processes write what they have to say, if not here
    api: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.http.base_url)

    def environment(self) -> dict[str, str]:
        places = [str(STANDIN), *filter(None, [os.environ.get("PYTHONPATH")])]
        path = {"PYTHONPATH": os.pathsep.join(places)} if self.scripted else {}
        return {**os.environ, **self.settings.environment(), **path}

    def start_api(self) -> None:
        number = self.listener.fileno()
        options = ["--factory", "service.app:create_app", "--fd", str(number), "--log-level", "warning"]
        command = [sys.executable, "-m", "uvicorn", *options, "--timeout-graceful-shutdown", "1"]
        self.api = self._spawn(command, self.environment(), pass_fds=(number,))
        until(self.answers, 120)

    def _spawn(
        self, command: list[str], environment: dict[str, str], **options: Any
    ) -> subprocess.Popen[bytes]:
        if self.log is None:
            return subprocess.Popen(command, env=environment, **options)
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, **options)

    def answers(self) -> bool:
        """Whether the API is up; on a busy machine its first answer may take long."""
        with suppress(httpx.TimeoutException):
            return self.get("/healthz").status_code == 200
        return False

    def stop_api(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.api is not None:
            self.api.send_signal(how)
            self.api.wait()
            self.api = None

    def start_worker(self, *, module: str = "worker", **settings: Any) -> subprocess.Popen[bytes]:
        changed = Settings(**(self.settings.model_dump() | settings))
        environment = self.environment() | changed.environment()
        worker = self._spawn([sys.executable, "-m", module], environment)
        self.workers.append(worker)
        until(lambda: any(name.endswith(f":{worker.pid}") for name in self.present()), 180)
        return worker

    def present(self) -> list[str]:
        """The names of the workers that said they are here and did not say they left."""
        db = Database(self.settings.database_url, pooled=False)
        with db.read() as session:
            return list(session.scalars(select(Worker.name)))

    def stop_worker(self, worker: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        worker.send_signal(how)
        worker.wait()
        self.workers.remove(worker)

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.stop_api()
        self.http.close()
        self.listener.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)


@contextmanager
def running_stack(
    data_dir: Path, *, workers: int = 0, scripted: bool = True, log: Path | None = None, **settings: Any
) -> Iterator[Stack]:
    """A stack that runs for the length of the block; ``scripted`` puts the stand-in for the pipeline."""
    configured = Settings(data_dir=data_dir, **(FAST | settings))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ``service.embedded`` does
    http = httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30)
    stack = Stack(configured, listener, scripted, http, log)
    with ExitStack() as cleanup:
        cleanup.callback(stack.stop)
        stack.start_api()
        for _ in range(workers):
            stack.start_worker()
        yield stack


@dataclass
class Bench:
    """A stack with a client, and the shortest way to a job that follows a script."""

    stack: Stack
    client: Client
    files: Path

    def model(self, *script: list[Any]) -> UploadView:
        path = self.files / "model.onnx"
        path.write_bytes(model_bytes(*script))
        return self.client.upload_model(path)

    def data(self) -> UploadView:
        path = self.files / "data.npz"
        path.write_bytes(npz_bytes())
        return self.client.upload_dataset(path)

    def submit(self, *script: list[Any], **options: Any) -> Job:
        return self.client.submit(self.model(*script), self.data(), **options)

    def running(self, *script: list[Any]) -> Job:
        """A job that has begun."""
        job = self.submit(*script)
        until(lambda: job.refresh().stage is not None)
        return job
