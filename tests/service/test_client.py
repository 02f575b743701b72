from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from service.client import (
    ApiError,
    Client,
    Corrupted,
    InTheWay,
    JobFailed,
    JobNotFinished,
    KeyUnusable,
    Unreachable,
    WaitTimeout,
)
from service.jobs.states import JobState
from tests.live import Bench, Stack, npy_bytes, running_stack


@pytest.fixture
def bench(api: Stack, tmp_path: Path) -> Iterator[Bench]:
    with Client(api.url) as client:
        yield Bench(api, client, tmp_path)


def test_uploads_report_how_far_they_are(bench: Bench) -> None:
    path = bench.files / "big.npy"
    path.write_bytes(npy_bytes(shape=(5000, 4)))
    seen: list[tuple[int, int]] = []
    view = bench.client.upload_dataset(path, lambda sent, total: seen.append((sent, total)))
    assert view.size == path.stat().st_size
    assert seen[-1] == (view.size, view.size)
    bench.client.delete(view)


@pytest.mark.parametrize("piece", [2**20, 100], ids=["whole", "in pieces"])
def test_a_name_that_is_no_text_is_sent_as_far_as_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("service.flows.PIECE", piece)
    path = bench.files / os.fsdecode(b"b\xff.npy")
    path.write_bytes(npy_bytes())
    assert bench.client.upload_dataset(path).name == "b?.npy"


@pytest.mark.parametrize("nothing", ["", ".", "..", "a/b", "job_x?wait=1"])
def test_what_is_no_id_is_no_job(bench: Bench, nothing: str) -> None:
    with pytest.raises(ApiError) as caught:
        bench.client.job(nothing)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert repr(nothing) in caught.value.detail


def test_a_refusal_is_an_exception_with_the_fields_of_the_problem(bench: Bench) -> None:
    path = bench.files / "bad.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ApiError) as caught:
        bench.client.upload_model(path)
    assert (caught.value.status, caught.value.code) == (422, "model_not_onnx")
    with pytest.raises(ApiError) as caught:
        bench.submit(recipe={"prune": {"rounds": 0}})
    assert caught.value.code == "recipe_invalid"


def test_jobs_are_listed_over_pages_and_filtered(bench: Bench) -> None:
    made = [bench.submit().id for _ in range(3)]
    bench.client.job(made[1]).cancel()
    listed = [view.id for view in bench.client.jobs(JobState.QUEUED)]
    assert listed[:2] == [made[2], made[0]]
    for job_id in (made[0], made[2]):
        bench.client.job(job_id).cancel()
    bench.client.delete(bench.client.job(made[0]))
    with pytest.raises(ApiError):
        bench.client.job(made[0])


def test_waiting_can_be_limited_and_ends_with_cancellation(bench: Bench) -> None:
    job = bench.submit()
    began = time.monotonic()
    with pytest.raises(WaitTimeout) as caught:
        job.wait(0.6)
    assert 0.5 < time.monotonic() - began < 5
    assert caught.value.job_id == job.id
    timer = threading.Timer(0.5, job.cancel)
    timer.start()
    with pytest.raises(JobFailed) as failed:
        job.wait(20)
    timer.join()
    assert failed.value.error.code == "cancelled"


def test_waiting_survives_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as stack, Client(stack.url) as client:
        job = Bench(stack, client, tmp_path).submit()

        def restart() -> None:
            stack.stop_api(signal.SIGKILL)
            time.sleep(0.5)
            stack.start_api()
            client.job(job.id).cancel()

        thread = threading.Thread(target=restart)
        thread.start()
        with pytest.raises(JobFailed):
            job.wait(40)
        thread.join()


def test_waiting_ends_when_the_server_stays_away(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as stack, Client(stack.url, patience_s=1.0) as client:
        job = Bench(stack, client, tmp_path).submit()
        stack.stop_api(signal.SIGKILL)
        stack.listener.close()
        began = time.monotonic()
        with pytest.raises(Unreachable):
            job.wait(30)
        assert time.monotonic() - began < 5


def test_a_server_that_never_was_there_is_given_up_soon() -> None:
    began = time.monotonic()
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        client.job("job_x")
    assert time.monotonic() - began < 4


class Flaky(BaseHTTPRequestHandler):
    """A server that fails as told by the class attributes, then answers."""

    statuses: ClassVar[list[int]] = []
    keys: ClassVar[list[str]] = []
    body: ClassVar[bytes] = b""
    cut: ClassVar[list[int]] = []
    ranges: ClassVar[list[str]] = []
    slow_s: ClassVar[float] = 0.0
    compresses: ClassVar[bool] = False

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        time.sleep(self.slow_s)
        self.answer(self.statuses.pop(0) if self.statuses else 202, self.body)

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.ranges.append(self.headers.get("Range", ""))
        if "/artifacts/" not in self.path:
            self.answer(200, self.body)
            return
        content = b"0123456789"[start:]
        self.send_response(206 if start else 200)
        if self.compresses and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.cut.pop(0)] if self.cut else content)
        self.close_connection = True

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def flaky() -> Iterator[str]:
    Flaky.statuses, Flaky.keys, Flaky.cut, Flaky.ranges = [], [], [], []
    Flaky.slow_s, Flaky.compresses = 0.0, False
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def job_json(bench: Bench, sha256: str) -> bytes:
    """A finished job with one artifact of ten bytes."""
    view = json.loads(bench.submit().view.model_dump_json())
    url = f"/v1/jobs/{view['id']}/artifacts/model.onnx"
    made = {"name": "model.onnx", "size": 10, "sha256": sha256, "url": url}
    return json.dumps(view | {"state": "succeeded", "artifacts": [made], "attempts": []}).encode()


DIGITS = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"


def test_a_submission_is_repeated_under_one_key(bench: Bench, flaky: str) -> None:
    Flaky.body, Flaky.statuses = job_json(bench, DIGITS), [503, 429]
    with Client(flaky) as client:
        assert client.submit("mdl_x", "dat_x").view.finished
    assert len(Flaky.keys) == 3
    assert len(set(Flaky.keys)) == 1


def test_a_try_that_took_longer_than_the_patience_is_not_the_last(bench: Bench, flaky: str) -> None:
    Flaky.body, Flaky.statuses, Flaky.slow_s = job_json(bench, DIGITS), [503], 0.6
    with Client(flaky, patience_s=0.5) as client:
        client.job("job_x")
        assert client.submit("mdl_x", "dat_x").view.finished
    assert len(Flaky.keys) == 2


def test_a_download_goes_on_where_it_broke_off(bench: Bench, flaky: str) -> None:
    Flaky.body, Flaky.cut = job_json(bench, DIGITS), [4, 3]
    with Client(flaky) as client:
        files = client.job("job_x").download(bench.files / "out")
    assert files["model.onnx"].read_bytes() == b"0123456789"
    assert Flaky.ranges[-3:] == ["", "bytes=4-", "bytes=7-"]


def test_a_download_replaces_no_other_file_unless_told_to(bench: Bench, flaky: str) -> None:
    Flaky.body, place = job_json(bench, DIGITS), bench.files / "mine"
    place.mkdir()
    (place / "model.onnx").write_bytes(b"months of work")
    with Client(flaky) as client:
        with pytest.raises(InTheWay, match=r"model\.onnx is another file"):
            client.job("job_x").download(place)
        assert (place / "model.onnx").read_bytes() == b"months of work"
        client.job("job_x").download(place, replace=True)
        assert (place / "model.onnx").read_bytes() == b"0123456789"
        asked = len(Flaky.ranges)
        assert client.job("job_x").download(place)["model.onnx"] == place / "model.onnx"
    assert len(Flaky.ranges) == asked + 2, "the job was looked at twice, and nothing fetched again"


def test_a_download_that_differs_is_not_kept(bench: Bench, flaky: str) -> None:
    Flaky.body = job_json(bench, "0" * 64)
    with Client(flaky) as client, pytest.raises(Corrupted, match=r"model\.onnx"):
        client.job("job_x").download(bench.files / "out")
    assert list((bench.files / "out").iterdir()) == []


def test_a_download_is_not_compressed_on_its_way(bench: Bench, flaky: str) -> None:
    Flaky.body, Flaky.compresses = job_json(bench, DIGITS), True
    with Client(flaky) as client:
        files = client.job("job_x").download(bench.files / "out")
    assert files["model.onnx"].read_bytes() == b"0123456789"


def test_there_is_nothing_to_download_of_a_job_without_a_result(bench: Bench) -> None:
    job = bench.submit()
    with pytest.raises(JobNotFinished, match="queued") as caught:
        job.download(bench.files / "out")
    assert (caught.value.job_id, caught.value.state) == (job.id, JobState.QUEUED)
    job.cancel()
    with pytest.raises(JobFailed, match="cancelled"):
        job.download(bench.files / "out")
    assert not (bench.files / "out").exists()


@pytest.mark.parametrize("key", ["sosp_ä", "sosp_a b", "sosp_a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(KeyUnusable) as caught:
        Client("http://127.0.0.1:9", key)
    assert "sosp_" not in str(caught.value)
