from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import EMBEDDED_FIRST
from tests.live import Stack, model_bytes, npz_bytes, running_stack, until


@pytest.fixture(scope="module", params=EMBEDDED_FIRST)
def api(request: pytest.FixtureRequest, apis: Callable[[str], Stack]) -> Stack:
    return apis(request.param)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def base64_sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def post(stack: Stack, path: str, content: bytes | Iterator[bytes], **options: object) -> httpx.Response:
    return stack.http.post(path, content=content, **options)  # type: ignore[arg-type]


def temporary_files(stack: Stack) -> list[Path]:
    return list((stack.settings.data_dir / "tmp").iterdir())


@pytest.mark.parametrize(
    ("path", "content", "format"),
    [("/v1/models", model_bytes(), "onnx"), ("/v1/datasets", npz_bytes(), "npz")],
)
def test_an_upload_can_be_read_back_listed_and_deleted(
    api: Stack, path: str, content: bytes, format: str
) -> None:
    answer = post(api, path, content, params={"name": "net.bin"})
    view = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{path}/{view['id']}"
    assert (view["sha256"], view["size"]) == (sha256(content), len(content))
    assert (view["name"], view["format"]) == ("net.bin", format)
    assert api.get(f"{path}/{view['id']}").json() == view
    assert view in api.get(path).json()["items"]
    assert api.http.delete(f"{path}/{view['id']}").status_code == 204
    assert api.get(f"{path}/{view['id']}").json()["code"] == "not_found"


def test_pages_cover_the_list_without_gap_or_repetition(api: Stack) -> None:
    made = {post(api, "/v1/models", model_bytes(["n", n])).json()["id"] for n in range(5)}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/v1/models", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert made <= set(seen)
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"X-Content-SHA256": sha256(model_bytes())}, 201),
        ({"X-Content-SHA256": "0" * 64}, 422),
        ({"X-Content-SHA256": "short"}, 400),
        ({"Content-Digest": f"sha-256=:{base64_sha256(model_bytes())}:"}, 201),
        ({"Content-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}, 422),
        ({"Content-Digest": "sha-256=:!:"}, 201),
        ({"Content-Digest": "sha-256=:A:"}, 400),
        ({"Content-Digest": "md5=:AAAA:"}, 201),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 201),
    ],
    ids=str,
)
def test_announced_digests_are_verified_and_encodings_refused(
    api: Stack, header: dict[str, str], status: int
) -> None:
    answer = post(api, "/v1/models", model_bytes(), headers=header)
    assert answer.status_code == status, answer.text
    assert temporary_files(api) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_leaves_nothing(api: Stack, chunked: bool) -> None:
    size = api.settings.max_upload_bytes + 1
    body = (bytes(10_000) for _ in range(size // 10_000 + 2)) if chunked else bytes(size)
    answer = post(api, "/v1/models", body)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert answer.json()["details"] == {"limit": api.settings.max_upload_bytes}
    assert temporary_files(api) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(api: Stack) -> None:
    with socket.create_connection(api.listener.getsockname()) as connection:
        connection.sendall(
            b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + bytes(100)
        )
        until(lambda: temporary_files(api))
    until(lambda: not temporary_files(api))
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("modèle 模.onnx".encode(), "modèle 模.onnx"),
        ("modèle.onnx".encode("latin-1"), "modèle.onnx"),
        (b"dir/net.onnx", "net.onnx"),
    ],
    ids=["utf-8", "latin-1", "ascii"],
)
def test_a_name_in_a_header_is_kept_as_it_was_sent(api: Stack, sent: bytes, kept: str) -> None:
    answer = post(api, "/v1/models", model_bytes(), headers={"X-Filename": sent})
    assert answer.json()["name"] == kept


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\net.onnx", "net.onnx"),
        ("<script>alert(1)</script>", "script>"),
        ("a\x00b\x1b[31m\n", "a b [31m"),
        ("‮gnp.exe", "‮gnp.exe"),
        ("x" * 5000, "x" * 254 + "…"),
        ("", "model"),
        ("///", "model"),
    ],
)
def test_a_name_is_a_label_and_nothing_else(api: Stack, offered: str, kept: str) -> None:
    answer = post(api, "/v1/models", model_bytes(), params={"name": offered})
    assert answer.json()["name"] == kept


def test_many_uploads_of_equal_bytes_at_once_are_one_file(api: Stack) -> None:
    content = model_bytes(["at", "once"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(api, "/v1/models", content), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 16
    blob = api.settings.data_dir / "blobs" / sha256(content)[:2] / sha256(content)[2:]
    assert blob.read_bytes() == content
    assert temporary_files(api) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with running_stack(tmp_path, free_space_floor_bytes=2 * free) as stack:
        answer = post(stack, "/v1/models", model_bytes())
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
        ready = stack.get("/readyz")
        assert (ready.status_code, ready.json()["disk"]) == (503, False)
        assert temporary_files(stack) == []
