"""The life of a job: every state and every way out of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

# The queue of jobs that may run anywhere.
ANY = "any"


class JobState(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"  # accepted; no worker has it
    RUNNING = "running"  # a worker holds the lease
    SUCCEEDED = "succeeded"  # every artifact is in place
    FAILED = "failed"  # the error is recorded; it will not be tried again
    CANCELLED = "cancelled"  # asked for by the user


NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    # Back to the queue: the lease was lost, the attempt may be repeated, or the worker shuts down.
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
}
TERMINAL = frozenset(state for state in JobState if state not in NEXT)


def sources(to: JobState) -> frozenset[JobState]:
    """The states from which a job may enter ``to``."""
    return frozenset(state for state, following in NEXT.items() if to in following)
