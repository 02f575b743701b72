"""Signing in with a key, and what a cookie is good for."""

from __future__ import annotations

import pytest

from service.jobs.tables import Role
from service.web.paths import is_local
from service.web.session import COOKIE, LIFE_S, Sessions
from tests.web.asking import TestClient
from tests.web.stage import Scene
from tests.web.test_pages import Reader


@pytest.fixture
def key(scene: Scene) -> tuple[str, str]:
    """The id and the text of a key; from now on the server wants one."""
    row, text = scene.parts.keys.create("somebody", Role.USER)
    return row.id, text


def sign_in(web: TestClient, text: str, target: str = "/jobs") -> object:
    token = Reader(web.get("/sign-in").text).token
    return web.post("/sign-in", data={"csrf": token, "key": text, "next": target})


def test_who_is_not_signed_in_is_asked_to_and_comes_back(key: tuple[str, str], web: TestClient) -> None:
    for path in ("/", "/jobs", "/new?model=x", "/compare", "/jobs/job_x"):
        answer = web.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=/")
    answer = web.get("/v1/jobs", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    wrong = sign_in(web, "sosp_000000000000_" + "x" * 43)
    assert wrong.status_code == 401
    assert "not valid here" in wrong.text
    right = sign_in(web, f" {key[1]} ")
    assert (right.status_code, right.headers["location"]) == (303, "/jobs")
    flags = right.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert key[1].lower() not in flags
    assert web.get("/jobs").status_code == 200
    assert web.get("/v1/jobs").status_code == 200


def test_a_cookie_changes_nothing_without_the_token_of_a_page(web: TestClient, key: tuple[str, str]) -> None:
    sign_in(web, key[1])
    token = Reader(web.get("/").text).token
    body = b"x"
    for headers, status in (({}, 403), ({"X-CSRF-Token": "0" * 64}, 403), ({"X-CSRF-Token": token}, 422)):
        answer = web.post("/v1/models?name=x", content=body, headers={**headers, "Accept": "*/*"})
        assert answer.status_code == status, answer.text


def test_signing_out_and_revoking_end_it(web: TestClient, scene: Scene, key: tuple[str, str]) -> None:
    sign_in(web, key[1])
    page = Reader(web.get("/").text)
    assert "Sign out" in page.text
    web.post("/sign-out", data={"csrf": page.token})
    assert web.get("/jobs").status_code == 303
    sign_in(web, key[1])
    assert web.get("/jobs").status_code == 200
    scene.parts.keys.revoke(key[0])
    assert web.get("/jobs").status_code == 303


def test_keys_see_their_own_jobs_only(web: TestClient, scene: Scene, key: tuple[str, str]) -> None:
    job = scene.queued()  # of this machine
    sign_in(web, key[1])
    assert web.get(f"/jobs/{job}").status_code == 404
    assert job not in web.get("/jobs").text
    assert web.get(f"/models/{scene.model}").status_code == 404


def test_forged_and_old_cookies_are_nobodys(
    scene: Scene, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions.at(scene.parts.settings.data_dir, scene.parts.keys)
    caller = scene.parts.keys.by_id(key[0])
    assert caller is not None
    cookie = sessions.begin(caller)
    assert sessions.holder(cookie) == caller
    claim, _, signature = cookie.rpartition(".")
    other = Sessions(b"another secret", scene.parts.keys)
    for bad in (
        "",
        "x",
        claim,
        f"{claim}.",
        f"{claim}.{signature[:-1]}0x",
        f"x{cookie}",
        other.begin(caller),
        "ü.ü",
    ):
        assert sessions.holder(bad) is None
    later = __import__("time").time() + LIFE_S + 1
    monkeypatch.setattr("service.web.session.time.time", lambda: later)
    assert sessions.holder(cookie) is None


def test_the_secret_is_made_once_and_is_nobody_elses_to_read(scene: Scene) -> None:
    root = scene.parts.settings.data_dir
    first, second = (Sessions.at(root, scene.parts.keys) for _ in range(2))
    assert first.secret == second.secret
    assert len(first.secret) == 32
    assert (root / "web.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"])
def test_nobody_is_sent_elsewhere(target: str) -> None:
    assert not is_local(target)


def test_guessing_keys_is_slowed_down(web: TestClient, key: tuple[str, str]) -> None:
    answers = [sign_in(web, "wrong").status_code for _ in range(25)]
    assert set(answers) == {401, 429}
    assert COOKIE not in web.cookies
    # Nobody else at this address, such as that of a proxy, is kept out by it.
    assert sign_in(web, key[1]).status_code == 303


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://sosp.example"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.example"}, False),
        ({"Origin": "http://127.0.0.1:8000"}, True),
        ({"Origin": "https://sosp.example", "X-Forwarded-Host": "sosp.example"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:9000"}, False),
        ({"Origin": "http://[::1"}, False),
        ({"Origin": "null"}, False),
    ],
    ids=str,
)
def test_no_other_site_signs_anybody_in_or_out(
    key: tuple[str, str], web: TestClient, headers: dict[str, str], served: bool
) -> None:
    form = {"csrf": Reader(web.get("/sign-in").text).token, "key": key[1], "next": "/"}
    for path in ("/sign-in", "/sign-out"):
        web.cookies.clear()
        answer = web.post(path, data=form, headers={"Accept": "*/*", **headers})
        assert answer.status_code == (303 if served else 403)
        if not served:
            assert answer.json()["code"] == "origin_refused"
            assert "set-cookie" not in answer.headers
