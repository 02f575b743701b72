"""Traces for OpenTelemetry: a request, the attempts at the job it made, and the stages of each.

Off unless the settings name a collector. Then spans are recorded and sent in the background; a
collector that does not answer costs spans, never requests or jobs. ``OTEL_*`` variables other than
the endpoint count as OpenTelemetry defines them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi.telemetry import TelemetryConfig
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import NoOpTracerProvider, Span, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

from service.errors import CannotStart
from service.settings import Settings

NAME = "sosp"
FIELD = "traceparent"
# Probes and scrapes come every few seconds, and tell nothing about anybody's job.
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
# So long the end of a process, or of a job, waits for a collector.
PATIENCE_S = 5
W3C = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Traces:
    """Where the spans of one process go."""

    provider: TracerProvider = field(default_factory=NoOpTracerProvider)

    @classmethod
    def of(cls, settings: Settings, service: str) -> Traces:
        """To the collector the settings name, if they do; ``service`` is who says so.

        Raises:
            CannotStart: The packages of the extra ``otel`` are missing.
        """
        return cls(_exporting(settings.otlp_endpoint, service)) if settings.otlp_endpoint else cls()

    def of_requests(self) -> TelemetryConfig:
        """What FastAPI is to record."""
        # FastAPI looks for providers of its own at every request unless it is told not to.
        others: TelemetryConfig = {"metrics": False, "logs": False, "auto_configure": False}
        if isinstance(self.provider, NoOpTracerProvider):
            return {**others, "tracing": False}
        return {**others, "tracer_provider": self.provider, "operation_spans": False, "exclude": _untraced}

    @contextmanager
    def attempt(self, job_id: str, number: int, worker: str, parent: str | None) -> Iterator[Steps]:
        """A span around an attempt at a job, below that of the request that made it."""
        told: dict[str, AttributeValue] = {
            "sosp.job.id": job_id,
            "sosp.attempt": number,
            "sosp.worker": worker,
        }
        tracer = self.provider.get_tracer(NAME)
        above = W3C.extract({FIELD: parent} if parent else {}, getter=_FROM_DICT)
        with tracer.start_as_current_span("attempt", above, attributes=told) as span:
            steps = Steps(tracer, span)
            try:
                yield steps
            finally:
                steps.stop()

    def close(self) -> None:
        """Send what is recorded, for as long as ``PATIENCE_S``."""
        if (shutdown := getattr(self.provider, "shutdown", None)) is not None:  # the API's has none
            shutdown()


@dataclass
class Steps:
    """The spans of an attempt's stages: each ends where the next one begins."""

    tracer: Tracer
    whole: Span
    _now: Span | None = None

    def begin(self, stage: str) -> None:
        """The stage that runs from here on."""
        self.stop()
        self._now = self.tracer.start_span(stage, set_span_in_context(self.whole))

    def stop(self) -> None:
        """No stage runs any more."""
        if self._now is not None:
            self._now.end()
            self._now = None

    def conclude(self, outcome: str, code: str | None) -> None:
        """How the attempt ended, and the code of its error if that was why."""
        self.stop()
        self.whole.set_attribute("sosp.outcome", outcome)
        if code is not None:
            self.whole.set_attribute("error.type", code)
            self.whole.set_status(Status(StatusCode.ERROR, code))


def parent() -> str | None:
    """The span that is current here, in the form of W3C's ``traceparent``; None if nothing is traced."""
    carrier: dict[str, str] = {}
    W3C.inject(carrier)
    return carrier.get(FIELD)


class _Plain(Getter[dict[str, str]]):
    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        return [carrier[key]] if key in carrier else None

    def keys(self, carrier: dict[str, str]) -> list[str]:
        return list(carrier)


_FROM_DICT = _Plain()


def _untraced(scope: Scope) -> bool:
    return scope.get("path") in UNTRACED


def _exporting(endpoint: str, service: str) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Recording
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise CannotStart(reason=f"otlp_endpoint is set, which takes sosp[otel]: {error}") from error
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": service}
    provider = Recording(resource=Resource.create(named), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=PATIENCE_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
