"""``sosp serve``: the API in this process and one worker as its child, in one data directory."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.devices import require_present
from service.errors import CannotStart
from service.guard import is_loopback
from service.jobs.keys import Keys
from service.settings import Settings

STOP_GRACE_S = 15.0
SHORTEST_LIFE_S = 10.0
LONGEST_PAUSE_S = 30.0
# Long polls and event streams never end by themselves; they are cut off after this.
DRAIN_S = 3

log = logging.getLogger(__name__)


class WorkerKeeper:
    """Keeps one ``python -m worker`` alive: restarted when it ends, sooner if it lived long."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **settings.environment()}
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # The worker dies with the thread that starts it, so this thread stays until the end.
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _keep(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            process = self._start()
            while process.poll() is None and not self._stopping.wait(0.2):
                pass
            if self._stopping.is_set():
                _end(process)
                return
            lived = time.monotonic() - began
            pause = 1.0 if lived > SHORTEST_LIFE_S else min(LONGEST_PAUSE_S, 2 * pause + 1)
            log.warning("the worker ended with status %s; restarting in %.0f s", process.returncode, pause)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "worker", "--parent", str(os.getpid())],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )


def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; ``on_ready`` is called with the address once requests are accepted.

    Raises:
        CannotStart: Another server uses the data directory, the address is taken, it can be reached
            from elsewhere and there is no API key, or a device that jobs shall compute on is absent.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _sole_user_of(settings):
        app = create_app(settings)
        _require_keys_elsewhere(settings, app.state.parts.keys)
        require_present(settings.devices)
        _run(settings, app, on_ready)


def _run(settings: Settings, app: FastAPI, on_ready: Callable[[str], None]) -> None:
    with _listening(settings) as listener:
        host, port = listener.getsockname()[:2]
        config = uvicorn.Config(
            app, log_level=settings.log_level, access_log=False, timeout_graceful_shutdown=DRAIN_S
        )
        signal.signal(signal.SIGTERM, _interrupt)
        with WorkerKeeper(settings):
            on_ready(f"http://{_place(host, port)}")
            server = uvicorn.Server(config)
            server.run(sockets=[listener])
            if server.started:  # It only ever ends because it was told to, however asyncio takes the signal.
                raise KeyboardInterrupt


def _require_keys_elsewhere(settings: Settings, keys: Keys) -> None:
    if not is_loopback(settings.host) and not keys.any():
        reason = f"{settings.host} can be reached by others; make a key first: sosp keys create NAME"
        raise CannotStart(reason=reason)


@contextmanager
def _sole_user_of(settings: Settings) -> Iterator[None]:
    with (settings.data_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(reason=f"another server uses {settings.data_dir}") from error
        yield


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = _place(settings.host, settings.port)
        raise CannotStart(reason=f"cannot listen on {where}: {error.strerror or error}") from error
    with listener:
        # Connections inherit it. Head and body leave separately, and without it the body would wait
        # for the client to acknowledge the head: 40 ms on Linux.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Make SIGTERM end us by an exception, as Ctrl-C does, so that the worker is stopped in order."""
    raise SystemExit(0)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
