"""Runs one job: claims it, watches the process that does the work, records how that ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from service.errors import TimeLimitExceeded, Unavailable
from service.jobs.artifacts import Artifact, Artifacts
from service.jobs.blobs import Blobs
from service.jobs.census import Census
from service.jobs.failure import place, tell
from service.jobs.leases import Claim, Leases, Report
from service.settings import Settings
from service.tracing import Steps, Traces
from sosp_core.checkpoints import CheckpointFolder
from sosp_core.errors import SospError
from worker.confine import Limits
from worker.process import Child, lay_out
from worker.pulse import Pulse

POLL_S = 0.2
REPORT_EVERY_S = 1.0
# A child that has told its result may still hang while libraries unload.
EXIT_GRACE_S = 10.0
SETTLE_RETRY_S = 1.0
# However many attempts are allowed, the next one begins within the hour.
LONGEST_PAUSE_S, MOST_DOUBLINGS = 3600.0, 30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """The child made its artifacts, and they are in place."""

    metrics: dict[str, Any]
    artifacts: list[Artifact]


@dataclass(frozen=True)
class Failed:
    """The child told of an error, or ended without a word."""

    error: dict[str, Any]


class Cancelled:
    """The user asked to stop, and it has."""


class Stopped:
    """This worker shuts down; somebody else shall run the job."""


class Lost:
    """The job is no longer ours."""


Ending = Done | Failed | Cancelled | Stopped | Lost


@dataclass
class Supervisor:
    """What a worker needs to run jobs, one after the other."""

    settings: Settings
    leases: Leases
    census: Census
    blobs: Blobs
    artifacts: Artifacts
    worker: str
    stopping: Callable[[], bool]
    traces: Traces = field(default_factory=Traces)

    def run(self, job_id: str) -> None:
        """Run a job that is queued; do nothing if it is not, as when a message comes twice."""
        if self.stopping():
            self.leases.decline(job_id)
            return
        claim = self.leases.claim(job_id, self.worker)
        if claim is None:
            log.info("%s is not queued; nothing to do", job_id)
            return
        log.info("%s: attempt %d begins", job_id, claim.attempt)
        told = (claim.job_id, claim.attempt, self.worker, claim.traceparent)
        with Pulse(self.leases, claim, self.settings) as pulse, self.traces.attempt(*told) as steps:
            attempt = Attempt(self, claim, pulse, steps)
            ending = attempt.run()
            code = ending.error["code"] if isinstance(ending, Failed) else None
            steps.conclude(type(ending).__name__.lower(), code)
            self._settle(claim, ending, attempt.stage, pulse)
        self._count(attempt)
        log.info("%s: attempt %d ended: %s", job_id, claim.attempt, type(ending).__name__.lower())

    def _settle(self, claim: Claim, ending: Ending, stage: str | None, pulse: Pulse) -> None:
        """Record the ending, however long the database takes to answer while the lease is ours."""
        error = place(ending.error, stage=stage, attempt=claim.attempt) if isinstance(ending, Failed) else {}
        while not pulse.lost.is_set():
            try:
                self._record(claim, ending, error)
                break
            except SQLAlchemyError as reason:
                log.warning("%s: cannot record its end: %s", claim.job_id, reason)
                time.sleep(SETTLE_RETRY_S)
        self.artifacts.tidy(claim.job_id, claim.fence)

    def _count(self, attempt: Attempt) -> None:
        try:
            self.census.add(attempt.took())
        except SQLAlchemyError as error:
            log.warning("%s: cannot count its stages: %s", attempt.claim.job_id, error)

    def _record(self, claim: Claim, ending: Ending, error: dict[str, Any]) -> None:
        match ending:
            case Done(metrics, published):
                if self.leases.succeed(claim, published, metrics):
                    self.artifacts.drop_checkpoints(claim.job_id)
                else:
                    self.artifacts.withdraw(claim.job_id, claim.fence)
            case Failed():
                if error["retryable"] and claim.attempt < self.settings.max_attempts:
                    self.leases.retry(claim, error, pause_s=self._pause_s(claim))
                elif self.leases.fail(claim, error) and not error["retryable"]:
                    self.artifacts.drop_checkpoints(claim.job_id)
            case Cancelled():
                self.leases.cancel(claim)
            case Stopped():
                self.leases.release(claim)
            case Lost():
                log.warning("%s: the lease was lost", claim.job_id)

    def _pause_s(self, claim: Claim) -> float:
        doubled = self.settings.retry_pause_s * 2.0 ** min(claim.attempt - 1, MOST_DOUBLINGS)
        return float(min(doubled, LONGEST_PAUSE_S))


@dataclass
class Attempt:
    """One try at a job, from the start of its process to the end of it."""

    owner: Supervisor
    claim: Claim
    pulse: Pulse
    steps: Steps
    stage: str | None = None
    _result: dict[str, Any] | None = None
    _latest: Report | None = None
    _reported_at: float = field(default=float("-inf"))
    _asked_at: float | None = None
    _began: dict[str, float] = field(default_factory=dict)

    def run(self) -> Ending:
        """Start the child and stay until it has ended."""
        try:
            work = self.owner.artifacts.begin(self.claim.job_id, self.claim.fence)
            inputs = lay_out(work, self.claim, self.owner.blobs)
            settings, recipe = self.owner.settings, self.claim.recipe
            place = self.owner.artifacts.checkpoints(self.claim.job_id, self.claim.ancestors)
            kept = CheckpointFolder(place, settings.checkpoint_every_s)
            limits = Limits.of(settings)
            logged, devices = settings.job_log_bytes, settings.devices
            with Child(work, inputs, recipe, limits, kept, log_bytes=logged, devices=devices) as child:
                return self._watch(child)
        except SospError as error:
            return Failed(tell(error))
        except OSError as error:  # the directory is gone, read-only, or the machine is short of something
            log.exception("%s: an attempt cannot go on", self.claim.job_id)
            return Failed(tell(Unavailable(part=f"worker's machine ({error.strerror})")))

    def _watch(self, child: Child) -> Ending:
        deadline = time.monotonic() + self.owner.settings.job_time_limit_s
        while not child.ended() and self._result is None:
            for message in child.messages(POLL_S):
                self._hear(message)
            self._pass_on()
            if self.pulse.lost.is_set():
                return Lost()
            if self.owner.stopping() and self._ask_to_stop(child):
                return Stopped()
            if time.monotonic() > deadline:
                limit = TimeLimitExceeded(limit_s=self.owner.settings.job_time_limit_s)
                return Failed(tell(limit))
            if self.pulse.cancelled.is_set() and self._ask_to_stop(child):
                return Cancelled()
        return self._conclude(child)

    def _conclude(self, child: Child) -> Ending:
        """How a child ended that was not stopped by us."""
        patience = time.monotonic() + EXIT_GRACE_S
        while not child.ended() and time.monotonic() < patience:
            time.sleep(POLL_S / 4)
        for message in child.last_messages():
            self._hear(message)
        match self._result:
            case {"done": {"metrics": dict(metrics)}}:
                return Done(metrics, self.owner.artifacts.publish(self.claim.job_id, self.claim.fence))
            case _ if self.pulse.cancelled.is_set():
                return Cancelled()
            case _ if self._asked_at is not None:
                return Stopped()
            case {"error": dict(told)}:
                return Failed(told)
            case _:
                return Failed(tell(child.reason()))

    def _ask_to_stop(self, child: Child) -> bool:
        """Ask the child to save what it has and stop; True once it has had its time."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            child.ask_to_stop()
        return time.monotonic() - self._asked_at > self.owner.settings.cancel_grace_s

    def _hear(self, message: dict[str, Any]) -> None:
        match message:
            case {"progress": dict(told)}:
                self._latest = Report(**told)
                if self._latest.stage not in self._began:
                    self._began[self._latest.stage] = time.monotonic()
                    self.steps.begin(self._latest.stage)
            case {"done": _} | {"error": _}:
                self._result = message

    def took(self) -> dict[str, float]:
        """Seconds in each stage that another one followed."""
        starts = list(self._began.items())
        return {stage: after - began for (stage, began), (_, after) in pairwise(starts)}

    def _pass_on(self) -> None:
        """Write the newest progress: at once when a stage begins, else about once a second."""
        latest, now = self._latest, time.monotonic()
        if latest is None or (latest.stage == self.stage and now - self._reported_at < REPORT_EVERY_S):
            return
        self.stage, self._reported_at, self._latest = latest.stage, now, None
        try:
            if not self.owner.leases.report(self.claim, latest):
                self.pulse.lost.set()
        except SQLAlchemyError as error:
            log.warning("%s: cannot show its progress: %s", self.claim.job_id, error)
