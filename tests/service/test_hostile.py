"""Files and requests made to do harm. Each is refused with a reason or does nothing special.

No answer is a server error, nobody sees a traceback, and API and worker are the same processes
at the end as at the beginning.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import socket
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from service.client import Client
from service.jobs.states import JobState
from tests.live import (
    Bench,
    field_bytes,
    model_bytes,
    npy_bytes,
    npz_bytes,
    running_stack,
    varint,
    zip_bytes,
)

MODELS, DATA, JOBS = "/v1/models", "/v1/datasets", "/v1/jobs"
JSON = {"Content-Type": "application/json"}
LIMIT = 300_000
NOWHERE = "job_" + "0" * 26


@dataclass(frozen=True)
class Attack:
    """One request; ``code`` is the problem's, "" where the answer is an ordinary one."""

    name: str
    method: str
    path: str
    status: int
    code: str = ""
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict)


def model(name: str, body: bytes, code: str = "model_not_onnx", status: int = 422, **headers: str) -> Attack:
    return Attack(f"model: {name}", "POST", MODELS, status, code, body, headers)


def data(name: str, body: bytes, code: str = "data_unreadable", status: int = 422) -> Attack:
    return Attack(f"data: {name}", "POST", DATA, status, code, body)


def order(name: str, body: bytes | str, status: int = 422, code: str = "validation_error") -> Attack:
    return Attack(f"order: {name}", "POST", JOBS, status, code, body, JSON)


def get(name: str, path: str, status: int, code: str, **headers: str) -> Attack:
    return Attack(f"get: {name}", "GET", path, status, code, headers=headers)


def tar_bytes(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    return buffer.getvalue()


def zip_that_lies(size: int) -> bytes:
    """An archive whose directory declares ``size`` bytes for its only member."""
    content = bytearray(zip_bytes({"x.npy": npy_bytes()}))
    place = content.rindex(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", size)
    return bytes(content)


def encrypted_zip() -> bytes:
    content = bytearray(npz_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(mark) + offset] |= 1
    return bytes(content)


def repeated(*names: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of the very thing that is made here
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), npy_bytes())
    return buffer.getvalue()


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def image_bytes(chunk: bytes, width: int = 4, height: int = 4) -> bytes:
    """A PNG of the stated size that holds one more chunk and no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", head), (b"zTXt", chunk), (b"IEND", b"")):
        parts += struct.pack(">I", len(content)) + kind + content
        parts += struct.pack(">I", zlib.crc32(kind + content))
    return parts


SOME = model_bytes()
NOISE = random.Random(0).randbytes(5000)
DEEP = b"[" * 50_000 + b"]" * 50_000
BOMB = zip_bytes({"x.npy": npy_bytes(values=bytes(30_000_000))}, zipfile.ZIP_DEFLATED)

FILES = [
    model("empty", b""),
    model("noise", NOISE),
    model("page", b"<!DOCTYPE html><html></html>"),
    model("json", b'{"ir_version": 8}'),
    model("gzip", b"\x1f\x8b\x08" + bytes(50)),
    model("zip of two models", zip_bytes({"a.onnx": SOME, "b.onnx": SOME}), "bundle_unreadable"),
    model("zip that leads outside", zip_bytes({"../net.onnx": SOME}), "bundle_unreadable"),
    model("tar", tar_bytes("net.onnx")),
    model("pickle", pickle.dumps({"a": 1}, protocol=2)),
    model("torch archive", zip_bytes({"archive/data.pkl": b"\x80\x02}.", "archive/version": b"3"})),
    model("tensorflow lite", b"\x1c\x00\x00\x00TFL3" + bytes(100)),
    model("onnxruntime format", b"\x08\x00\x00\x00ORTM" + bytes(100)),
    model("elf", b"\x7fELF" + bytes(100)),
    model("half", SOME[: len(SOME) // 2]),
    model("one byte short", SOME[:-1]),
    model("rubbish behind", SOME + b"\xff" * 10),
    model("no graph", varint(1 << 3) + varint(8)),
    model("no version", field_bytes(7, field_bytes(2, b"g"))),
    model("length of 2^63", varint(1 << 3) + varint(8) + varint(7 << 3 | 2) + varint(2**63)),
    model("endless number", b"\x08" + b"\xff" * 30),
    model("field number 0", b"\x00\x01" + SOME),
    model("group", b"\x0b\x0c" + SOME),
    model("110,000 empty fields", SOME + b"\x72\x00" * 110_000),
    model("announced compression", SOME, "encoding_unsupported", 415, **{"Content-Encoding": "br"}),
    model("wrong digest", SOME, "checksum_mismatch", 422, **{"X-Content-SHA256": "0" * 64}),
    model("no digest", SOME, "argument_invalid", 400, **{"X-Content-SHA256": "../../etc/passwd"}),
    model("too large", bytes(LIMIT + 1), "upload_too_large", 413),
    data("empty", b""),
    data("noise", NOISE),
    data("pickle", pickle.dumps([1, 2, 3])),
    data("objects", npy_bytes("|O", (1,), pickle.dumps(os.getcwd))),
    data("objects within", zip_bytes({"x.npy": npy_bytes("|O", (1,), b"\x80\x04N.")})),
    data("records", npy_bytes("[('a', '<f4')]", (1,))),
    data("shape of 2^40", npy_bytes(shape=(2**40,), values=b"")),
    data("shape of 10^30", npy_bytes(shape=(10**30,), values=b"")),
    data("negative shape", npy_bytes(shape=(-1, 3), values=b"")),
    data("deep header", b"\x93NUMPY\x01\x00" + struct.pack("<H", 20_000) + b"(" * 20_000),
    data("header of 2 GB", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{}"),
    data("header that calls", b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').system('true')  "),
    data("values cut off", npy_bytes(shape=(100, 100), values=bytes(10))),
    data("zip bomb", BOMB),
    data("zip that lies", zip_that_lies(2**31 - 1)),
    data("encrypted", encrypted_zip()),
    data("cut zip", npz_bytes()[:-30]),
    data("member outside", repeated("../../evil.npy")),
    data("absolute member", repeated("/etc/evil.npy")),
    data("same member twice", repeated("x.npy", "x.npy")),
    data("tar", tar_bytes("../../evil")),
    data("tar with a link", tar_bytes("x.npy", tarfile.SYMTYPE)),
    data("tar with a device", tar_bytes("x.npy", tarfile.CHRTYPE)),
    data("safetensors header of 2^60", safetensors(b"{}", 2**60)),
    data("safetensors no json", safetensors(b"x" * 50)),
    data("safetensors deep", safetensors(DEEP)),
    data(
        "safetensors beyond the end", safetensors(b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}')
    ),
    data("image alone", image_bytes(b"")),
    data("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(100)),
    data("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
]
ORDERS = [
    order("empty", b""),
    order("no object", "[]"),
    order("numbers for names", '{"model_id": 1, "dataset_id": true}'),
    order("nan", '{"model_id": NaN, "dataset_id": 1e999}'),
    order("surrogate", '{"model_id": "\\ud800", "dataset_id": "x"}'),
    order("more fields", '{"model_id": "a", "dataset_id": "b", "owner": "admin"}'),
    order("path for a model", '{"model_id": "../../etc/passwd", "dataset_id": "b"}', 404, "not_found"),
    order("sql for a model", '{"model_id": "\' OR 1=1 --", "dataset_id": "b"}', 404, "not_found"),
    order("nul for a model", '{"model_id": "mdl_\\u0000", "dataset_id": "b"}', 404, "not_found"),
    order("long name", json.dumps({"model_id": "x" * 100_000, "dataset_id": "b"})),
    order("queue that is none", '{"model_id": "a", "dataset_id": "b", "queue": "../x"}'),
    order("queue with a line", '{"model_id": "a", "dataset_id": "b", "queue": "any\\n"}'),
    order("deep", DEEP, 400, "bad_request"),
    order("huge number", '{"seed": ' + "9" * 10_000 + "}", 400, "bad_request"),
    order("no utf-8", b"\xff\xfe", 400, "bad_request"),
    order("a megabyte of nothing", b"{" + b" " * 2**20 + b"}", 413, "body_too_large"),
    Attack(
        "order: a form",
        "POST",
        JOBS,
        415,
        "media_type_unsupported",
        b"model_id=a",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Attack(
        "order: key of 10 kB",
        "POST",
        JOBS,
        400,
        "argument_invalid",
        '{"model_id": "a", "dataset_id": "b"}',
        {**JSON, "Idempotency-Key": "k" * 10_000},
    ),
]
PLACES = [
    get("job that is none", f"{JOBS}/{NOWHERE}", 404, "not_found"),
    get("path", f"{JOBS}/..%2f..%2fetc%2fpasswd", 404, "not_found"),
    get("nul", f"{JOBS}/%00", 404, "not_found"),
    get("bytes", f"{JOBS}/%ff%fe", 404, "not_found"),
    get("10 kB", f"{JOBS}/" + "x" * 10_000, 404, "not_found"),
    get("artifact outside", f"{JOBS}/{NOWHERE}/artifacts/..%2f..%2fsosp.db", 404, "not_found"),
    get("events", f"{JOBS}/{NOWHERE}/events", 404, "not_found"),
    get("negative event", f"{JOBS}/{NOWHERE}/events", 404, "not_found", **{"Last-Event-ID": "-1"}),
    get("wait for nan", f"{JOBS}/{NOWHERE}?wait=nan", 422, "validation_error"),
    get("wait for ever", f"{JOBS}/{NOWHERE}?wait=inf", 422, "validation_error"),
    get("cursor", f"{JOBS}?cursor=%00", 400, "argument_invalid"),
    get("long cursor", f"{JOBS}?cursor=" + "A" * 1000, 422, "validation_error"),
    get("limit", f"{JOBS}?limit=99999999999999999999", 422, "validation_error"),
    get("filter", f"{JOBS}?owner=admin", 422, "validation_error"),
    get("script", "/<script>alert(1)</script>", 404, "not_found"),
    get("documentation outside", "/docs/..%2f..%2fmain.py", 404, "not_found"),
    get("foreign host", JOBS, 421, "host_refused", Host="evil.example"),
    get("foreign page", JOBS, 403, "origin_refused", Origin="https://evil.example"),
    Attack("method: trace", "TRACE", JOBS, 405, "method_not_allowed"),
    Attack("method: invented", "BREW", JOBS, 405, "method_not_allowed"),
    Attack("delete: all", "DELETE", MODELS, 405, "method_not_allowed"),
    Attack("cancel: nothing", "POST", f"{JOBS}/{NOWHERE}/cancel", 404, "not_found"),
    Attack("retry: nothing", "POST", f"{JOBS}/{NOWHERE}/retry", 404, "not_found"),
]
ATTACKS = [*FILES, *ORDERS, *PLACES]

RAW = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01",
    "negative length": b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "length and chunks": b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "broken chunk": b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "nul in a header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "100 kB of headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "no host": b"GET /v1/jobs HTTP/1.1\r\n\r\n",
}


@dataclass
class Target:
    bench: Bench
    log: Path


@pytest.fixture(scope="module")
def target(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("hostile")
    log, broker = directory / "log", valkey.removesuffix("0") + "6"
    limits: dict[str, Any] = {"max_upload_bytes": LIMIT, "max_unpacked_bytes": 10**6}
    with (
        running_stack(directory / "data", workers=1, log=log, broker_url=broker, **limits) as stack,
        Client(stack.url) as client,
    ):
        pids = (stack.api and stack.api.pid, stack.workers[0].pid)
        made = Target(Bench(stack, client, directory), log)
        yield made
        assert (stack.api and stack.api.pid, stack.workers[0].pid) == pids
        assert all(process and process.poll() is None for process in (stack.api, stack.workers[0]))
        assert stack.get("/readyz").json()["status"] == "ready"
        assert made.bench.submit().wait(30).state is JobState.SUCCEEDED
        assert list((stack.settings.data_dir / "tmp").iterdir()) == []
        assert "Traceback" not in log.read_text()


def test_there_are_at_least_eighty() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names))
    assert len(names) + len(RAW) >= 80


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_request_is_refused_with_a_reason(target: Target, attack: Attack) -> None:
    answer = target.bench.stack.http.request(
        attack.method, attack.path, content=attack.body, headers=attack.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (attack.status, attack.code), answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    assert str(target.bench.stack.settings.data_dir) not in answer.text


@pytest.mark.parametrize("request_text", RAW.values(), ids=RAW)
def test_a_malformed_request_ends_its_connection_only(target: Target, request_text: bytes) -> None:
    with socket.create_connection(target.bench.stack.listener.getsockname(), timeout=10) as connection:
        connection.sendall(request_text)
        answer = connection.recv(4096)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert b"Traceback" not in answer
    assert target.bench.stack.get("/healthz").status_code == 200


def test_requests_made_from_the_document_find_no_server_error(target: Target) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
    url = target.bench.stack.url
    document = httpx.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document).exclude(path_regex="/events$")
    schema.config.update(base_url=url)

    for operation in schema.get_all_operations():

        @settings(max_examples=4, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.ok().as_strategy())
        def probe(case: Any) -> None:
            answer = case.call(timeout=10)
            assert answer.status_code < 500, answer.text

        probe()
