"""Whatever is sent: an explained refusal, never a server error, never a traceback."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest

from tests.live import Stack, model_bytes, npy_bytes, npz_bytes

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def http(api: Stack) -> httpx.Client:
    return api.http


@pytest.fixture(scope="module")
def order(http: httpx.Client) -> str:
    model = http.post("/v1/models", content=model_bytes()).json()["id"]
    data = http.post("/v1/datasets", content=npz_bytes()).json()["id"]
    return f'"model_id": "{model}", "dataset_id": "{data}"'


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of ``answer``, which is of the documented form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["type"] == f"urn:sosp:problem:{code}"
    assert problem["status"] == status
    assert {"title", "detail", "instance"} <= set(problem)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    return problem


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "model_not_onnx"),
        (random.Random(0).randbytes(5000), "model_not_onnx"),
        (b"<!DOCTYPE html><html></html>", "model_not_onnx"),
        (model_bytes()[: len(model_bytes()) // 2], "model_not_onnx"),
        (model_bytes()[:-1], "model_not_onnx"),
        (npz_bytes(), "bundle_unreadable"),
    ],
)
def test_models_that_are_none(http: httpx.Client, content: bytes, code: str) -> None:
    problem = refused(http.post("/v1/models", content=content), 422, code)
    assert problem["details"]["reason"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "data_unreadable"),
        (random.Random(1).randbytes(5000), "data_unreadable"),
        (npy_bytes("|O", (1,), b"\x80\x04N."), "data_unreadable"),
        (npy_bytes(shape=(0, 3)), "data_empty"),
        (npz_bytes()[:-30], "data_unreadable"),
        (model_bytes(), "data_unreadable"),
    ],
)
def test_data_that_is_none(http: httpx.Client, content: bytes, code: str) -> None:
    refused(http.post("/v1/datasets", content=content), 422, code)


@pytest.mark.parametrize(
    ("recipe", "status", "code"),
    [
        ('{"prune": {"budget": {"keep": NaN}}}', 422, "recipe_invalid"),
        ('{"prune": {"budget": {"keep": 1e999}}}', 422, "recipe_invalid"),
        ('{"prune": {"budget": {"keep": -0.0}}}', 422, "recipe_invalid"),
        ('{"prune": {"budget": {"keep": "0.5"}}}', 422, "recipe_invalid"),
        ('{"prune": {"budget": {"keep": 1.5}}}', 422, "recipe_invalid"),
        ('{"prune": {"rounds": true}}', 422, "recipe_invalid"),
        ('{"prune": {"samples": 1000000000000000000000000000000}}', 422, "recipe_invalid"),
        ('{"prune": {"protect": ["\\ud800"]}}', 422, "recipe_invalid"),
        ('{"\\ud800": 1}', 422, "recipe_invalid"),
        ('{"sparsity": 0.5}', 422, "recipe_invalid"),
        ('{"finetune": null}', 422, "recipe_invalid"),
        ('{"benchmark": {"threads": [' + "1," * 10_000 + '"x"]}}', 422, "recipe_invalid"),
        ("[]", 422, "validation_error"),
        ('"text"', 422, "recipe_invalid"),
        ('{"seed": ' + "9" * 10_000 + "}", 400, "bad_request"),
        ("[" * 100_000 + "]" * 100_000, 400, "bad_request"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_recipes_that_are_none(http: httpx.Client, order: str, recipe: str, status: int, code: str) -> None:
    body = f'{{{order}, "recipe": {recipe}}}'
    refused(http.post("/v1/jobs", content=body, headers=JSON), status, code)


def test_a_wrong_recipe_names_field_and_choice(http: httpx.Client, order: str) -> None:
    body = f'{{{order}, "recipe": {{"prune": {{"methd": "x"}}}}}}'
    problem = refused(http.post("/v1/jobs", content=body, headers=JSON), 422, "recipe_invalid")
    assert problem["details"]["field"] == "prune.methd"
    assert "did you mean 'method'" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "validation_error"),
        (b"{}", 422, "validation_error"),
        (b'{"model_id": 1, "dataset_id": true}', 422, "validation_error"),
        (b'{"model_id": NaN, "dataset_id": 1e999}', 422, "validation_error"),
        (b'{"model_id": "\\ud800", "dataset_id": "x"}', 422, "validation_error"),
        (b'{"model_id": "a", "dataset_id": "b", "extra": NaN}', 422, "validation_error"),
        (b'{"model_id": "' + b"x" * 100_000 + b'", "dataset_id": "b"}', 422, "validation_error"),
        (b'{"model_id": "mdl_\\u0000", "dataset_id": "b"}', 404, "not_found"),
        (b'{"model_id": "../x", "dataset_id": "b"}', 404, "not_found"),
        (b"not json", 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        (b"\xef\xbb\xbf{}", 422, "validation_error"),
        (b"{" + b" " * 2**20 + b"}", 413, "body_too_large"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_orders_that_are_none(http: httpx.Client, body: bytes, status: int, code: str) -> None:
    problem = refused(http.post("/v1/jobs", content=body, headers=JSON), status, code)
    assert "\\ud800" not in json.dumps(problem)


@pytest.mark.parametrize("type_", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_does_not_say_it_is_json_is_told_to(http: httpx.Client, order: str, type_: str) -> None:
    headers = {"Content-Type": type_} if type_ else {}
    answer = http.post("/v1/jobs", content=f"{{{order}}}", headers=headers)
    problem = refused(answer, 415, "media_type_unsupported")
    assert problem["detail"] == "Content-Type has to be application/json"


def test_an_order_without_a_body_is_told_that_it_lacks_one(http: httpx.Client) -> None:
    assert refused(http.post("/v1/jobs"), 422, "validation_error")["errors"][0]["field"] == "body"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/job_x", 404, "not_found"),
        ("GET", "/v1/jobs/job_00000000000000000000000000", 404, "not_found"),
        ("GET", "/v1/jobs/..%2f..%2fetc", 404, "not_found"),
        ("GET", "/v1/jobs/%00", 404, "not_found"),
        ("GET", "/v1/jobs/" + "x" * 10_000, 404, "not_found"),
        ("GET", "/v1/jobs/job_x/events", 404, "not_found"),
        ("GET", "/v1/jobs/job_x/artifacts/model.onnx", 404, "not_found"),
        ("POST", "/v1/jobs/job_x/cancel", 404, "not_found"),
        ("DELETE", "/v1/models/dat_00000000000000000000000000", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/jobs/job_x?wait=nan", 422, "validation_error"),
        ("GET", "/v1/jobs/job_x?wait=-1", 422, "validation_error"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_addresses_that_are_none(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    refused(http.request(method, path), status, code)


@pytest.mark.parametrize("offered", ["../x", "a b", "x" * 65, "é"])
def test_a_request_id_is_ours_unless_it_is_harmless(http: httpx.Client, offered: str) -> None:
    answer = http.get("/healthz", headers=[(b"X-Request-ID", offered.encode())])
    assert answer.headers["X-Request-ID"] != offered
    assert http.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
