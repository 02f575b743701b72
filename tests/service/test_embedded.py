"""``sosp serve``: one command, one directory, nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.client import Client
from service.embedded import _listening
from service.settings import Settings
from tests.live import FAST, STANDIN, model_bytes, npz_bytes, until


@contextmanager
def served(data_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {
        **os.environ,
        **Settings(data_dir=data_dir, **FAST).environment(),
        "PYTHONPATH": str(STANDIN),
    }
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3]
            until(lambda: httpx.get(f"{url}/readyz").json()["workers"])
            yield server, url
        finally:
            server.kill()


def worker_of(server: subprocess.Popen[str]) -> int:
    tasks = Path(f"/proc/{server.pid}/task")
    children = [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    (worker,) = map(int, children)
    return worker


def test_one_command_serves_restarts_its_worker_and_stops_in_order(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model_bytes())
    (tmp_path / "data.npz").write_bytes(npz_bytes())
    with served(tmp_path / "data") as (server, url), Client(url) as client:
        model, data = client.upload_model(tmp_path / "net.onnx"), client.upload_dataset(tmp_path / "data.npz")
        client.submit(model, data).wait(30)

        second = subprocess.run(
            [
                sys.executable,
                "-m",
                "service.cli",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(tmp_path / "data"),
            ],
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2
        assert "another server uses" in second.stderr

        os.kill(worker_of(server), signal.SIGKILL)
        client.submit(model, data).wait(40)

        worker = worker_of(server)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        assert not Path(f"/proc/{worker}").exists()


def test_an_address_of_ipv6_is_told_so_that_it_can_be_opened(tmp_path: Path) -> None:
    with served(tmp_path, "--host", "::1") as (_, url):
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/v1/jobs").status_code == 200


def test_a_killed_server_takes_its_worker_with_it(tmp_path: Path) -> None:
    with served(tmp_path) as (server, _):
        worker = worker_of(server)
        server.kill()
        server.wait()
        until(lambda: not Path(f"/proc/{worker}").exists())


def test_no_answer_waits_for_its_own_head_to_be_acknowledged(tmp_path: Path) -> None:
    with (
        _listening(Settings(data_dir=tmp_path, port=0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ("gpu", "devices: 'gpu' is no device: cpu, cuda or cuda:N"),
        ("cuda:99", "devices: 'cuda:99' is not present on this machine"),
    ],
)
def test_nothing_starts_with_a_device_that_is_not_there(
    tmp_path: Path, command: str, devices: str, told: str
) -> None:
    arguments = [sys.executable, "-m", "service.cli", command, "--data-dir", str(tmp_path)]
    environment = os.environ | {"SOSP_DEVICES": devices}
    refused = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)
    assert refused.stderr == f"error: {told} [cannot_start]\n"
    assert refused.returncode == 2
