"""Spans of a request, the attempts at its job and their stages make one trace; off, there are none."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from service.app import create_app
from service.errors import CannotStart
from service.jobs.database import Database
from service.settings import Settings
from service.tracing import Traces
from tests.live import FAST, STANDIN, model_bytes, npz_bytes
from tests.web.asking import TestClient
from worker.tasks import supervisor

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    places = [str(STANDIN), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))  # the scripted pipeline, in the child
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    return Settings(data_dir=tmp_path / "data", **FAST)


def submit(settings: Settings, traces: Traces, *script: list[Any], **headers: str) -> str:
    app = create_app(settings, traces)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as http:
        order = {
            "model_id": http.post("/v1/models", content=model_bytes(*script)).json()["id"],
            "dataset_id": http.post("/v1/datasets", content=npz_bytes()).json()["id"],
        }
        assert http.get("/healthz").status_code == 200
        return str(http.post("/v1/jobs", json=order, headers=headers).json()["id"])


def work(settings: Settings, traces: Traces, job_id: str) -> None:
    db = Database(settings.database_url)
    supervisor(settings, db, worker="tester", stopping=lambda: False, traces=traces).run(job_id)
    db.close()


def test_a_job_is_one_trace_from_its_request_to_its_stages(settings: Settings) -> None:
    (api, of_api), (worker, of_worker) = recorded(), recorded()  # two processes
    job_id = submit(
        settings,
        api,
        ["report", "score", "scoring"],
        ["raise", "OutOfMemory", {"device": "cuda"}],
        traceparent=f"00-{TRACE}-{SPAN}-01",
    )
    work(settings, worker, job_id)
    asked, done = of_api.get_finished_spans(), of_worker.get_finished_spans()
    assert [span.name for span in asked] == ["POST /v1/models", "POST /v1/datasets", "POST /v1/jobs"]
    assert [span.name for span in done] == ["load", "score", "attempt"]
    spans = {span.name: span for span in asked + done}
    request, attempt = spans["POST /v1/jobs"], spans["attempt"]
    assert [above(spans[name]) for name in ("load", "score")] == [attempt.context.span_id] * 2
    assert above(attempt) == request.context.span_id
    assert f"{above(request):016x}" == SPAN
    traced = {span.context.trace_id for span in (request, attempt, spans["load"], spans["score"])}
    assert traced == {int(TRACE, 16)}
    assert spans["load"].end_time <= spans["score"].start_time  # type: ignore[operator]
    told = attempt.attributes or {}
    assert (told["sosp.job.id"], told["sosp.attempt"], told["sosp.outcome"]) == (job_id, 1, "failed")
    assert (told["error.type"], attempt.status.is_ok) == ("out_of_memory", False)


def recorded() -> tuple[Traces, InMemorySpanExporter]:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Traces(provider), memory


def above(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def test_by_default_nothing_is_traced(settings: Settings) -> None:
    off = Traces.of(settings, "sosp-api")
    job_id = submit(settings, off, traceparent=f"00-{TRACE}-{SPAN}-01")
    work(settings, off, job_id)
    app = create_app(settings)
    assert app.state.parts.jobs.get(job_id).traceparent is None
    app.state.parts.close()
    off.close()


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of a server that takes everything, and what it took."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["SOSP_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_spans_reach_the_collector_that_is_named(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with collector() as (url, taken):
        monkeypatch.setenv(variable, url)
        traces = Traces.of(Settings(data_dir=tmp_path), "sosp-worker")
        with traces.attempt("job_1", 2, "tester", None) as steps:
            steps.begin("load")
        traces.close()
    (path, body) = taken[0]
    assert path == "/v1/traces"
    sent = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    assert {span.name for span in sent.scope_spans[0].spans} == {"attempt", "load"}
    assert "sosp-worker" in {item.value.string_value for item in sent.resource.attributes}


def test_without_the_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(CannotStart, match=r"sosp\[otel\]"):
        create_app(Settings(data_dir=tmp_path, otlp_endpoint="http://127.0.0.1:1"))


def test_an_endpoint_is_a_web_address(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="http://"):
        Settings(data_dir=tmp_path, otlp_endpoint="collector:4317")
