from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.conftest import EMBEDDED_FIRST
from tests.live import Stack, model_bytes, npz_bytes


@pytest.fixture(scope="module", params=EMBEDDED_FIRST)
def api(request: pytest.FixtureRequest, apis: Callable[[str], Stack]) -> Stack:
    return apis(request.param)


@pytest.fixture(scope="module")
def http(api: Stack) -> httpx.Client:
    return api.http


@pytest.fixture(scope="module")
def order(http: httpx.Client) -> dict[str, Any]:
    model = http.post("/v1/models", content=model_bytes()).json()["id"]
    data = http.post("/v1/datasets", content=npz_bytes()).json()["id"]
    return {"model_id": model, "dataset_id": data}


@contextmanager
def cancelled_soon(http: httpx.Client, job: dict[str, Any]) -> Iterator[None]:
    """The job is cancelled while the block waits for it."""
    timer = threading.Timer(0.7, lambda: http.post(job["links"]["cancel"]))
    timer.start()
    yield
    timer.join()


def test_a_new_job_is_accepted_and_points_the_way(http: httpx.Client, order: dict[str, Any]) -> None:
    answer = http.post("/v1/jobs", json=order | {"recipe": {"seed": 3}})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (job["state"], job["overall"], job["attempt"], job["error"]) == ("queued", 0.0, 0, None)
    assert job["recipe"]["seed"] == 3
    assert job["recipe"]["prune"]["rounds"] == 8  # defaults are spelled out
    again = http.get(job["links"]["self"])
    assert again.headers["ETag"] == '"1"'
    assert again.json() == job | {"attempts": []}


def test_twenty_posts_with_one_key_are_one_job(http: httpx.Client, order: dict[str, Any]) -> None:
    barrier = threading.Barrier(20)

    def post(_: int) -> httpx.Response:
        barrier.wait()
        return http.post("/v1/jobs", json=order, headers={"Idempotency-Key": "twenty"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = http.post("/v1/jobs", json=order | {"recipe": {"seed": 9}}, headers={"Idempotency-Key": "twenty"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_nobody_can_store_is_refused(http: httpx.Client, order: dict[str, Any], key: str) -> None:
    answer = http.post("/v1/jobs", json=order, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "argument_invalid")


def test_cancel_can_be_asked_twice_and_delete_follows(http: httpx.Client, order: dict[str, Any]) -> None:
    path = http.post("/v1/jobs", json=order).json()["links"]["self"]
    too_early = http.delete(path)
    assert (too_early.status_code, too_early.json()["code"]) == (409, "job_not_finished")
    for _ in range(2):
        answer = http.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert "Retry-After" not in answer.headers
    assert http.get(f"{path}/artifacts").json() == {"items": []}
    assert http.get(f"{path}/artifacts/model.onnx").status_code == 404
    assert http.delete(path).status_code == 204
    assert http.get(path).status_code == 404


def test_uploads_in_use_cannot_be_deleted(http: httpx.Client, order: dict[str, Any]) -> None:
    job = http.post("/v1/jobs", json=order).json()
    answer = http.delete(f"/v1/datasets/{order['dataset_id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    http.post(job["links"]["cancel"])


def test_a_long_poll_ends_when_the_job_changes(http: httpx.Client, order: dict[str, Any]) -> None:
    job = http.post("/v1/jobs", json=order).json()
    began = time.monotonic()
    with cancelled_soon(http, job):
        answer = http.get(job["links"]["self"], params={"wait": 20})
    assert 0.5 < time.monotonic() - began < 5
    assert answer.json()["state"] == "cancelled"


def test_a_long_poll_without_a_change_says_so(http: httpx.Client, order: dict[str, Any]) -> None:
    path = http.post("/v1/jobs", json=order).json()["links"]["self"]
    known = {"If-None-Match": '"1"'}
    assert http.get(path, params={"wait": 0.3}, headers=known).status_code == 304
    assert http.get(path, params={"wait": 20}, headers={"If-None-Match": '"0"'}).status_code == 200
    http.post(f"{path}/cancel")
    assert http.get(path, params={"wait": 20}, headers={"If-None-Match": '"2"'}).status_code == 304


def test_events_begin_where_the_client_stopped_and_end_with_the_job(
    http: httpx.Client, order: dict[str, Any]
) -> None:
    job = http.post("/v1/jobs", json=order).json()
    with cancelled_soon(http, job):
        stream = http.get(job["links"]["events"])
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert [line for line in stream.text.splitlines() if line.startswith("id: ")] == ["id: 1", "id: 2"]
    rest = http.get(job["links"]["events"], headers={"Last-Event-ID": "1"})
    assert "id: 1" not in rest.text
    assert '"state":"cancelled"' in rest.text
    # What EventSource asks when the stream has ended; anything else than 204 and it asks for ever.
    over = http.get(job["links"]["events"], headers={"Last-Event-ID": "2"}, timeout=5)
    assert (over.status_code, over.content) == (204, b"")
    assert "text/event-stream" in http.get(job["links"]["events"]).headers["content-type"]


def test_a_stream_after_an_event_that_never_was_ends_with_the_job(
    http: httpx.Client, order: dict[str, Any]
) -> None:
    job = http.post("/v1/jobs", json=order).json()
    with cancelled_soon(http, job):
        stream = http.get(job["links"]["events"], headers={"Last-Event-ID": "99"}, timeout=10)
    assert '"state":"cancelled"' in stream.text


def test_head_answers_as_get_does_without_the_body(http: httpx.Client, order: dict[str, Any]) -> None:
    job = http.post("/v1/jobs", json=order).json()
    paths = ["/", "/healthz", "/docs", "/v1/jobs", "/v1/recipes/quick", "/metrics", "/openapi.json"]
    for path in (*paths, job["links"]["self"], job["links"]["artifacts"], f"/jobs/{job['id']}"):
        got, head = http.get(path), http.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        assert "content-length" in head.headers
    assert http.head(job["links"]["self"]).headers["ETag"] == '"1"'
    assert http.head("/v1/jobs/job_x").status_code == 404
    assert http.head(job["links"]["cancel"]).status_code == 405
    http.post(job["links"]["cancel"])


def test_lists_are_filtered_and_cut_into_pages(http: httpx.Client, order: dict[str, Any]) -> None:
    made = [http.post("/v1/jobs", json=order).json()["id"] for _ in range(3)]
    http.post(f"/v1/jobs/{made[0]}/cancel")
    cancelled = http.get("/v1/jobs", params={"state": "cancelled", "limit": 200}).json()["items"]
    assert made[0] in [job["id"] for job in cancelled]
    assert {job["state"] for job in cancelled} == {"cancelled"}
    first = http.get("/v1/jobs", params={"limit": 2}).json()
    second = http.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in first["items"]] == [made[2], made[1]]
    assert second["items"][0]["id"] == made[0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": -1}, 422),
        ({"limit": 10**9}, 422),
        ({"limit": "x"}, 422),
        ({"state": "lost"}, 422),
        ({"colour": "red"}, 422),
        ({"cursor": "garbage"}, 400),
        ({"cursor": "é"}, 400),
        ({"cursor": "bWRsXzE"}, 400),
    ],
    ids=str,
)
def test_a_list_cannot_be_asked_nonsense(http: httpx.Client, query: dict[str, Any], status: int) -> None:
    answer = http.get("/v1/jobs", params=query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_worker_the_service_is_degraded_but_there(http: httpx.Client) -> None:
    answer = http.get("/readyz")
    assert answer.status_code == 200
    ready = answer.json()
    assert (ready["status"], ready["workers"]) == ("degraded", 0)
    assert ready["database"]
    assert ready["broker"]
    assert ready["disk"]
