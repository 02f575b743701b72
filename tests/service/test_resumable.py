"""Uploads in pieces: what breaks in between costs the last piece, and nothing half-written stays."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service import flows
from service.client import Client
from service.deps import assemble
from service.jobs.tables import Role
from service.transport import Send, Step
from tests.live import Stack, model_bytes, running_stack, until

PIECE_TYPE = "application/offset+octet-stream"


def metadata(**told: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())


def begin(stack: Stack, content: bytes, sha256: str | None = None, kind: str = "model") -> str:
    told = {"kind": kind, "filename": "net.onnx"} | ({"sha256": sha256} if sha256 else {})
    headers = {"Upload-Length": str(len(content)), "Upload-Metadata": metadata(**told)}
    answer = stack.http.post("/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    assert (answer.headers["Upload-Offset"], answer.headers["Tus-Resumable"]) == ("0", "1.0.0")
    assert "Upload-Expires" in answer.headers
    return str(answer.headers["Location"])


def send(stack: Stack, place: str, at: int, content: bytes, **headers: str) -> httpx.Response:
    given = {"Content-Type": PIECE_TYPE, "Upload-Offset": str(at)} | headers
    return stack.http.patch(place, content=content, headers=given)


def checksum(content: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha256 {base64.b64encode(hashlib.sha256(content).digest()).decode()}"}


def offset(stack: Stack, place: str) -> int:
    return int(stack.http.head(place).headers["Upload-Offset"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def left(stack: Stack) -> list[str]:
    place = stack.settings.data_dir / "uploads"
    return [path.name for path in place.iterdir()] if place.exists() else []


def test_pieces_become_the_model_they_are_of(api: Stack) -> None:
    content = model_bytes(["pieces", "x" * 5000])
    place = begin(api, content, hashlib.sha256(content).hexdigest())
    for at in range(0, len(content), 2000):
        piece = content[at : at + 2000]
        answer = send(api, place, at, piece, **checksum(piece))
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(at + len(piece)))
    view = api.get(place).json()
    assert (view["offset"], view["name"]) == (len(content), "net.onnx")
    assert api.get(f"/v1/models/{view['result']['id']}").json() == view["result"]
    sha256 = hashlib.sha256(content).hexdigest()
    assert (api.settings.data_dir / "blobs" / sha256[:2] / sha256[2:]).read_bytes() == content
    assert left(api) == []
    assert send(api, place, len(content), b"").status_code == 204  # the last answer was lost
    assert api.http.delete(place).status_code == 204
    assert api.get(f"/v1/models/{view['result']['id']}").status_code == 200


def test_abilities_are_told(api: Stack) -> None:
    answer = api.http.options("/v1/uploads")
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert "checksum" in answer.headers["Tus-Extension"]
    assert answer.headers["Tus-Max-Size"] == str(api.settings.max_upload_bytes)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Upload-Length": "-5"}, (400, "argument_invalid")),
        ({"Upload-Length": "five"}, (400, "argument_invalid")),
        ({"Upload-Length": "0"}, (400, "argument_invalid")),
        ({}, (400, "argument_invalid")),
        ({"Upload-Length": "9" * 18}, (413, "upload_too_large")),
        ({"Upload-Length": "9" * 500}, (400, "argument_invalid")),
        ({"Upload-Length": "5", "Upload-Metadata": metadata(kind="secret")}, (400, "argument_invalid")),
        ({"Upload-Length": "5", "Upload-Metadata": "kind ???"}, (400, "argument_invalid")),
        ({"Upload-Length": "5", "Upload-Metadata": ",,,"}, (400, "argument_invalid")),
        (
            {"Upload-Length": "5", "Upload-Metadata": metadata(kind="model", sha256="abc")},
            (400, "argument_invalid"),
        ),
    ],
    ids=str,
)
def test_a_beginning_that_makes_no_sense_is_refused(
    api: Stack, headers: dict[str, str], told: tuple[int, str]
) -> None:
    given = {"Upload-Metadata": metadata(kind="model")} | headers
    assert code(api.http.post("/v1/uploads", headers=given)) == told


def test_a_piece_that_does_not_fit_changes_nothing(api: Stack) -> None:
    content = model_bytes(["fit"])
    place = begin(api, content)
    assert send(api, place, 0, content[:10]).status_code == 204
    assert code(send(api, place, 0, content[:10])) == (409, "offset_mismatch")
    assert code(send(api, place, 11, content[11:])) == (409, "offset_mismatch")
    assert code(send(api, place, 10, content[10:] + b"more")) == (400, "argument_invalid")
    assert code(send(api, place, 10, content[10:20], **checksum(b"other"))) == (422, "checksum_mismatch")
    assert code(send(api, place, 10, b"x", **{"Upload-Checksum": "md5 abc"})) == (400, "argument_invalid")
    assert code(send(api, place, 10, b"x", **{"Content-Type": "text/plain"})) == (
        415,
        "media_type_unsupported",
    )
    assert code(send(api, place, 10, b"x", **{"Content-Encoding": "gzip"})) == (415, "encoding_unsupported")
    assert code(send(api, place, -1, b"x")) == (400, "argument_invalid")
    assert offset(api, place) == 10
    assert send(api, place, 10, content[10:]).status_code == 204
    assert api.get(place).json()["result"]["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "sha256", "told"),
    [
        (b"no model at all", None, (422, "model_not_onnx")),
        (model_bytes(["sum"]), "0" * 64, (422, "checksum_mismatch")),
    ],
    ids=["no model", "other digest"],
)
def test_a_file_that_is_no_good_is_refused_and_gone(
    api: Stack, content: bytes, sha256: str | None, told: tuple[int, str]
) -> None:
    place = begin(api, content, sha256)
    assert code(send(api, place, 0, content)) == told
    assert code(api.get(place)) == (404, "not_found")
    assert left(api) == []


def sending(stack: Stack, place: str, some: bytes, announced: int) -> socket.socket:
    """A connection that has begun to send an upload, and holds it."""
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {PIECE_TYPE}\r\n"
        f"Upload-Offset: 0\r\nContent-Length: {announced}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", stack.http.base_url.port or 0))
    connection.sendall(head.encode() + some)
    inode = (stack.settings.data_dir / "uploads" / place.rpartition("/")[2]).stat().st_ino
    until(lambda: f":{inode} " in Path("/proc/locks").read_text())
    return connection


def test_what_arrived_before_the_connection_broke_counts(api: Stack) -> None:
    content = model_bytes(["broken", "y" * 4000])
    place = begin(api, content)
    with sending(api, place, content[:3000], len(content)):
        busy = send(api, place, 0, b"x")
        assert code(busy) == (423, "upload_busy")
        assert busy.headers["Retry-After"]
    until(lambda: offset(api, place) == 3000)
    assert send(api, place, 3000, content[3000:]).status_code == 204


def outrun(stack: Stack, place: str, content: bytes) -> None:
    """Another request appends first."""
    assert send(stack, place, 0, content[:700]).status_code == 204


def occupy(stack: Stack, place: str, content: bytes) -> None:
    """An earlier request, whose answer was lost, has the upload for a moment longer."""
    threading.Timer(0.5, sending(stack, place, content[:700], len(content)).close).start()


@pytest.mark.parametrize("interfere", [outrun, occupy])
def test_a_client_goes_on_from_where_another_request_left_the_upload(
    api: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interfere: Callable[[Stack, str, bytes], None],
) -> None:
    monkeypatch.setattr(flows, "PIECE", 2000)
    file = tmp_path / "net.onnx"
    file.write_bytes(content := model_bytes(["raced", interfere.__name__, "r" * 4000]))
    offsets: list[str] = []
    with Client(api.url) as client:
        take = client._transport._take

        def take_late(step: Step) -> object:
            if isinstance(step, Send) and step.method == "PATCH":
                if not offsets:
                    interfere(api, step.path, content)
                offsets.append(step.options["headers"]["Upload-Offset"])
            return take(step)

        monkeypatch.setattr(client._transport, "_take", take_late)
        assert client.upload_model(file).sha256 == hashlib.sha256(content).hexdigest()
    assert offsets[0] == "0"
    assert "700" in offsets


def test_uploads_of_others_do_not_exist_and_declared_sizes_count(tmp_path: Path) -> None:
    with running_stack(tmp_path, max_stored_bytes=10_000) as stack:
        parts = assemble(stack.settings)
        ours, theirs = (parts.keys.create(name, Role.USER)[1] for name in ("ours", "theirs"))
        parts.close()
        stack.http.headers["Authorization"] = f"Bearer {ours}"
        place = begin(stack, bytes(6000))
        headers = {"Upload-Length": "6000", "Upload-Metadata": metadata(kind="model")}
        assert code(stack.http.post("/v1/uploads", headers=headers)) == (413, "quota_exceeded")
        stack.http.headers["Authorization"] = f"Bearer {theirs}"
        assert stack.http.post("/v1/uploads", headers=headers).status_code == 201
        for answer in (stack.get(place), stack.http.delete(place), send(stack, place, 0, b"x")):
            assert code(answer) == (404, "not_found")
        assert stack.http.head(place).status_code == 404
        stack.http.headers["Authorization"] = f"Bearer {ours}"
        assert stack.http.delete(place).status_code == 204
        assert stack.http.post("/v1/uploads", headers=headers).status_code == 201


def test_what_is_left_alone_expires_and_is_collected(tmp_path: Path) -> None:
    with running_stack(tmp_path, upload_ttl_s=0.5) as stack:
        content = model_bytes()
        place = begin(stack, content)
        until(lambda: stack.get(place).status_code == 410, 5)
        assert code(send(stack, place, 0, content)) == (410, "upload_expired")
        parts = assemble(stack.settings)
        (stack.settings.data_dir / "uploads" / "stray").write_bytes(b"x")
        assert parts.upkeep.sweep(grace_s=-1).uploads == 2
        parts.close()
        assert left(stack) == []
        assert code(stack.get(place)) == (404, "not_found")


def test_an_api_killed_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "PIECE", 100_000)
    file = tmp_path / "net.onnx"
    file.write_bytes(model_bytes(["killed", "z" * 1_000_000]))
    shown: list[int] = []
    with running_stack(tmp_path / "data") as stack, Client(stack.url) as client:

        def strike(sent: int, total: int) -> None:
            if len(shown) in (2, 5):
                stack.stop_api(signal.SIGKILL)
                stack.start_api()
            shown.append(sent)

        view = client.upload_model(file, strike)
        assert view.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert shown == sorted(set(shown))
        assert shown[-1] == file.stat().st_size
        assert left(stack) == []


def test_a_full_disk_is_said_and_the_upload_goes_on_when_there_is_room(tight: Stack) -> None:
    content = model_bytes(["full", "w" * 2**20])
    place = begin(tight, content)
    assert send(tight, place, 0, content[:1000]).status_code == 204
    ballast = tight.settings.data_dir / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert code(send(tight, place, 1000, content[1000:])) == (507, "insufficient_storage")
    ballast.unlink()
    at = offset(tight, place)
    assert (tight.settings.data_dir / "uploads" / place.rpartition("/")[2]).stat().st_size == at
    assert send(tight, place, at, content[at:]).status_code == 204
    assert tight.get(place).json()["result"]["size"] == len(content)
    assert code(tight.http.post("/v1/uploads", headers={"Upload-Length": str(2**23)} | model())) == (
        507,
        "insufficient_storage",
    )


def model() -> dict[str, str]:
    return {"Upload-Metadata": metadata(kind="model")}
