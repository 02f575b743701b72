"""Keys, owners, quotas and pace: who gets in, what they see, and how much of it they may have."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.cli.main import run
from service.client import ApiError, Client
from service.jobs.database import Database
from service.jobs.keys import FRESH_S, Keys
from service.jobs.tables import Role
from service.pace import Pace
from service.settings import Settings
from tests.live import Stack, model_bytes, npz_bytes, running_stack, until
from tests.web.asking import TestClient

NOBODY = "sosp_000000000000_" + "A" * 43


@dataclass
class Site:
    """An API with three keys: two users and an administrator."""

    stack: Stack
    keys: Keys
    ada: httpx.Client
    bob: httpx.Client
    admin: httpx.Client


def holder(stack: Stack, key: str) -> httpx.Client:
    return httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    limits: dict[str, Any] = {"max_stored_bytes": 5000, "max_queued_jobs": 3, "max_upload_bytes": 4000}
    with running_stack(directory, **limits) as stack:
        keys = Keys(Database(stack.settings.database_url))
        roles = {"ada": Role.USER, "bob": Role.USER, "admin": Role.ADMIN}
        clients = {name: holder(stack, keys.create(name, role)[1]) for name, role in roles.items()}
        # The first key was made by another process than the server's: whoever shows it is heard at once.
        assert clients["ada"].get("/v1/jobs").status_code == 200
        yield Site(stack, keys, **clients)
        for client in clients.values():
            client.close()
        keys.db.close()


def upload(client: httpx.Client) -> dict[str, str]:
    model = client.post("/v1/models", content=model_bytes()).json()["id"]
    data = client.post("/v1/datasets", content=npz_bytes()).json()["id"]
    return {"model_id": model, "dataset_id": data}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer {NOBODY}"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": f"Bearer {NOBODY}\u00e9".encode().decode("latin-1")},
        {"Authorization": "Bearer " + "x" * 10_000},
    ],
    ids=lambda header: str(header)[:40],
)
def test_without_a_valid_key_nothing_is_told(site: Site, header: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in header.items()}
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/models"), ("GET", "/v1/nothing")):
        answer = site.stack.http.request(method, path, headers=sent)  # type: ignore[arg-type]
        assert code(answer) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "x" * 100 not in answer.text
    assert site.stack.get("/v1/jobs", params={"api_key": "x"}).status_code == 401
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert site.stack.get(path).status_code == 200


def test_a_refused_upload_is_refused_before_its_body(site: Site) -> None:
    with socket.create_connection(site.stack.listener.getsockname()) as connection:
        connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


def test_a_revoked_key_is_refused_at_once_and_the_door_stays_shut(site: Site) -> None:
    row, text = site.keys.create("eve", Role.USER)
    with holder(site.stack, text) as eve:
        assert eve.get("/v1/jobs").status_code == 200
        site.keys.revoke(row.id)
        assert code(eve.get("/v1/jobs")) == (401, "unauthenticated")


def test_of_a_key_only_a_digest_is_stored(site: Site) -> None:
    _, text = site.keys.create("carol", Role.USER)
    secret = text.split("_", 2)[2]  # it may hold underscores itself
    assert len(secret) == 43
    stored = b"".join(path.read_bytes() for path in site.stack.settings.data_dir.glob("sosp.db*"))
    assert secret.encode() not in stored
    assert site.keys.holder(text[:-1] + ("A" if text[-1] != "A" else "B")) is None


def test_every_address_of_a_thing_hides_it_from_other_owners(site: Site) -> None:
    """Taken from the document, so that a route added later is tested too."""
    order = upload(site.ada)
    job = site.ada.post("/v1/jobs", json=order).json()
    known = {"job_id": job["id"], "name": "model.onnx"}
    begun = {"Upload-Length": "9", "Upload-Metadata": "kind " + base64.b64encode(b"model").decode()}
    partial = site.ada.post("/v1/uploads", headers=begun).headers["Location"].rpartition("/")[2]
    piece = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    tried = 0
    for path, item in create_app(Settings(data_dir=site.stack.settings.data_dir)).openapi()["paths"].items():
        if "{" not in path or path.startswith("/v1/recipes"):  # those belong to everybody
            continue
        kind = "model" if "models" in path else "dataset"
        for method in item:
            foreign = path.format(**known, id=partial if "uploads" in path else order[f"{kind}_id"])
            missing = re.sub(r"_[0-9A-Z]{26}", "_" + "0" * 26, foreign)
            headers = piece if method == "patch" else {}
            answers = [site.bob.request(method, place, headers=headers) for place in (foreign, missing)]
            assert [answer.status_code for answer in answers] == [404, 404], (method, path)
            if method != "head":
                assert [code(answer) for answer in answers] == [(404, "not_found")] * 2, (method, path)
            bodies = [
                re.sub(r"_[0-9A-Z]{26}", "_ID", answer.text).replace(answer.headers["X-Request-ID"], "")
                for answer in answers
            ]
            assert bodies[0] == bodies[1]
            tried += 1
    assert tried >= 10
    for path in ("/v1/models", "/v1/datasets", "/v1/jobs"):
        assert site.bob.get(path).json()["items"] == []
    assert code(site.bob.post("/v1/jobs", json=order)) == (404, "not_found")
    assert site.admin.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert site.ada.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200


def test_a_job_that_an_administrator_tries_again_stays_its_owners(site: Site) -> None:
    made = site.ada.post("/v1/jobs", json=upload(site.ada)).json()
    assert site.ada.post(made["links"]["cancel"]).status_code == 200
    header = {"Idempotency-Key": "retry"}
    again, repeated = (site.admin.post(f"/v1/jobs/{made['id']}/retry", headers=header) for _ in range(2))
    job = again.json()["id"]
    assert repeated.json()["id"] == job
    assert site.ada.get(f"/v1/jobs/{job}").status_code == 200
    assert site.bob.get(f"/v1/jobs/{job}").status_code == 404
    # The key is the administrator's: it is still the owner's to use.
    other = site.ada.post(f"/v1/jobs/{made['id']}/retry", headers=header).json()["id"]
    assert other != job
    for started in (job, other):
        assert site.ada.post(f"/v1/jobs/{started}/cancel").status_code == 200


def test_idempotency_keys_of_two_owners_do_not_meet(site: Site) -> None:
    header = {"Idempotency-Key": "same"}
    made = [client.post("/v1/jobs", json=upload(client), headers=header) for client in (site.ada, site.bob)]
    assert [answer.status_code for answer in made] == [202, 202]
    assert made[0].json()["id"] != made[1].json()["id"]
    for client, answer in zip((site.ada, site.bob), made, strict=True):
        client.post(answer.json()["links"]["cancel"])


def test_quotas_are_for_each_owner_and_named(site: Site) -> None:
    _, text = site.keys.create("dave", Role.USER)
    with holder(site.stack, text) as dave:
        order = upload(dave)
        jobs = [dave.post("/v1/jobs", json=order) for _ in range(4)]
        assert [answer.status_code for answer in jobs] == [202, 202, 202, 429]
        assert code(jobs[-1]) == (429, "queue_full")
        assert jobs[-1].json()["details"] == {"limit": 3}
        assert "Retry-After" in jobs[-1].headers
        dave.post(jobs[0].json()["links"]["cancel"])
        assert dave.post("/v1/jobs", json=order).status_code == 202

        big = model_bytes(["x" * 3000])
        chunks = (big[i : i + 100] for i in range(0, len(big), 100))
        assert dave.post("/v1/models", content=big).status_code == 201
        assert code(dave.post("/v1/models", content=big)) == (413, "quota_exceeded")
        assert code(dave.post("/v1/models", content=chunks)) == (413, "quota_exceeded")
        assert code(dave.post("/v1/models", content=bytes(4001))) == (413, "upload_too_large")
    assert site.ada.post("/v1/models", content=model_bytes()).status_code == 201
    assert list((site.stack.settings.data_dir / "tmp").iterdir()) == []


def test_client_and_command_take_a_key(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = site.keys.create("frank", Role.USER)
    (tmp_path / "net.onnx").write_bytes(model_bytes())
    with Client(site.stack.url, text) as client:
        client.delete(client.upload_model(tmp_path / "net.onnx"))
    with Client(site.stack.url) as client, pytest.raises(ApiError) as caught:
        client.upload_model(tmp_path / "net.onnx")
    assert caught.value.status == 401
    command = ["jobs", "list", "--server", site.stack.url]
    assert run(command) == 2
    assert run([*command, "--api-key", text]) == 0
    for written in (text, f"{text}\n", f" {text}\r\n"):
        monkeypatch.setenv("SOSP_API_KEY", written)
        assert run(command) == 0
    capsys.readouterr()
    monkeypatch.setenv("SOSP_API_KEY", f"{text}\u00e9")
    assert run(command) == 2
    shown = capsys.readouterr().err
    assert shown.endswith("[key_unusable]\n")
    assert text not in shown


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API without keys, on the loopback address, that is asked too often after 30 requests."""
    directory = tmp_path_factory.mktemp("open")
    with running_stack(directory, requests_per_minute=30, body_patience_s=1.0) as stack:
        yield stack


@pytest.mark.parametrize(
    ("headers", "status", "refusal"),
    [
        ({"Host": "evil.example"}, 421, "host_refused"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "host_refused"),
        ({"Host": "[::1"}, 421, "host_refused"),
        ({"Host": "localhost:1"}, 200, ""),
        ({"Host": "[::1]:80"}, 200, ""),
        ({"Origin": "https://evil.example"}, 403, "origin_refused"),
        ({"Origin": "null"}, 403, "origin_refused"),
        ({"Origin": "http://localhost:8000"}, 200, ""),
        ({"X-Forwarded-For": "203.0.113.9"}, 421, "proxy_refused"),
        ({"X-Forwarded-Proto": "https"}, 421, "proxy_refused"),
        ({"Forwarded": "for=127.0.0.1"}, 421, "proxy_refused"),
        ({"Via": "1.1 caddy"}, 421, "proxy_refused"),
        ({"X-Real-IP": "127.0.0.1"}, 421, "proxy_refused"),
    ],
    ids=str,
)
def test_without_keys_only_this_machine_is_served(
    open_site: Stack, headers: dict[str, str], status: int, refusal: str
) -> None:
    for path in ("/v1/jobs", "/docs"):
        answer = open_site.get(path, headers=headers)
        assert answer.status_code == status
        if refusal:
            assert answer.json()["code"] == refusal
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_that_trickles_is_given_up(open_site: Stack) -> None:
    began = time.monotonic()
    with socket.create_connection(open_site.listener.getsockname()) as connection:
        connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        connection.settimeout(10)
        for _ in range(3):
            connection.sendall(b"x")
            time.sleep(0.2)
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_a_body_that_stops_is_given_up_however_much_of_it_came(open_site: Stack) -> None:
    began = time.monotonic()
    with socket.create_connection(open_site.listener.getsockname()) as connection:
        head = b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
        connection.sendall(head + bytes(100_000))
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_who_asks_too_often_is_told_when_to_come_back(open_site: Stack) -> None:
    answers = [open_site.get("/v1/jobs") for _ in range(40)]
    assert code(answers[-1]) == (429, "too_many_requests")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert open_site.get("/healthz").status_code == 200


def test_a_budget_refills_steadily() -> None:
    now = [0.0]
    pace = Pace(60, now=lambda: now[0])
    assert [pace.wait_s("a") for _ in range(61)][-2:] == [0.0, pytest.approx(1.0)]
    assert pace.wait_s("b") == 0.0
    now[0] = 1.0
    assert [pace.wait_s("a"), pace.wait_s("a")] == [0.0, pytest.approx(1.0)]


def test_answers_carry_safe_headers_and_the_documentation_fetches_nothing(site: Site) -> None:
    for path in ("/healthz", "/v1/jobs", "/nothing"):
        headers = site.ada.get(path).headers
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in headers
    page = site.stack.get("/docs")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    for place in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert site.stack.get(place).status_code == 200
    assert site.stack.get("/docs/..%2f__init__.py").status_code == 404


def test_keys_are_made_listed_and_revoked_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--data-dir", str(tmp_path), "--json"]
    assert run(["keys", "create", "ada", "--admin", *place]) == 0
    made = json.loads(capsys.readouterr().out)
    assert re.fullmatch(r"sosp_[0-9a-f]{12}_[\w-]{43}", made["key"])
    assert (made["name"], made["role"]) == ("ada", "admin")
    assert run(["keys", "revoke", made["id"], *place]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *place]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["items"][0]["revoked_at"]
    assert made["key"] not in printed
    assert run(["keys", "revoke", "nothing", *place]) == 1
    assert run(["keys", "create", "bob", "--data-dir", str(tmp_path)]) == 0


def test_a_server_others_can_reach_takes_keys_to_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "serve", "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(
        [*command, "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "sosp keys create" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_first_key_shuts_the_door_at_once_here_and_within_a_second_elsewhere(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    apps = [create_app(settings), create_app(settings)]  # each remembers for itself, as processes do
    addressed: Any = {"base_url": "http://127.0.0.1", "client": ("127.0.0.1", 5000)}
    here, elsewhere = (TestClient(app, **addressed) for app in apps)
    assert [client.get("/v1/jobs").status_code for client in (here, elsewhere)] == [200, 200]
    _, text = apps[0].state.parts.keys.create("ada", Role.USER)
    assert here.get("/v1/jobs").status_code == 401
    # Whoever shows a key is asked whose it is, never taken for this machine's user.
    wrong, right = ({"Authorization": f"Bearer {key}"} for key in (NOBODY, text))
    assert elsewhere.get("/v1/jobs", headers=wrong).status_code == 401
    assert elsewhere.get("/v1/jobs", headers=right).status_code == 200
    assert elsewhere.get("/v1/jobs").status_code == 401
    for app in apps:
        app.state.parts.close()


def test_an_old_answer_about_keys_lasts_a_second(tmp_path: Path) -> None:
    mine, theirs = (Keys(Database(f"sqlite:///{tmp_path / 'sosp.db'}")) for _ in range(2))
    mine.db.migrate()
    assert mine.remembered() is None
    assert not mine.any()
    theirs.create("ada", Role.USER)
    until(lambda: mine.remembered() is None, 2 * FRESH_S)
    assert mine.any()
    assert mine.remembered()
    for keys in (mine, theirs):
        keys.db.close()
