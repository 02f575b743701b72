"""What Prometheus is told: requests from this process, everything else from the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from service.jobs.blobs import Blobs
from service.jobs.census import Census
from service.jobs.states import JobState

# Long polls end after a minute; event streams with their job.
BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Metrics:
    """The metrics of one application; nothing is global."""

    def __init__(self, census: Census, blobs: Blobs, worker_ttl_s: float) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Installation(census, blobs, worker_ttl_s))
        self._requests = Histogram(
            "sosp_http_request_seconds",
            "Time to answer, by route.",
            ("method", "route", "status"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        known = method if method in {"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"} else "OTHER"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self._registry)


@dataclass(frozen=True)
class _Installation(Collector):
    census: Census
    blobs: Blobs
    worker_ttl_s: float

    def describe(self) -> list[Metric]:
        """Nothing: to register must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Look, and tell."""
        counts = self.census.take(self.worker_ttl_s)
        jobs = GaugeMetricFamily("sosp_jobs", "Jobs, by queue and state.", labels=("queue", "state"))
        for queue in sorted({"any", *(queue for queue, _ in counts.jobs)}):
            for state in JobState:
                jobs.add_metric((queue, state), counts.jobs.get((queue, state), 0))
        yield jobs
        waits = GaugeMetricFamily("sosp_queue_oldest_seconds", "Wait of the oldest job.", labels=("queue",))
        for queue, seconds in counts.oldest_s.items():
            waits.add_metric((queue,), seconds)
        yield waits
        workers = GaugeMetricFamily("sosp_workers", "Live workers that serve a queue.", labels=("queue",))
        for queue, number in counts.workers.items():
            workers.add_metric((queue,), number)
        yield workers
        stages = SummaryMetricFamily("sosp_stage_seconds", "Time in stages of jobs.", labels=("stage",))
        for row in counts.stages:
            stages.add_metric((row.stage,), row.count, row.seconds)
        yield stages
        yield GaugeMetricFamily("sosp_free_bytes", "Free disk space above the floor.", self.blobs.free())
