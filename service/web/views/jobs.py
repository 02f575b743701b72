"""A job as its page and the list of jobs show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.deps import Parts
from service.errors import NotFound
from service.jobs.overall import WEIGHTS
from service.jobs.states import TERMINAL, JobState
from service.schemas import AttemptView, JobView
from service.web import words
from service.web.choices import shortened, write

Mark = Literal["done", "now", "failed", "ahead"]


@dataclass(frozen=True)
class Step:
    """A stage, and where the job is with respect to it."""

    name: str
    title: str
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class JobCard:
    """A job in words.

    Attributes:
        title: The name of the model's file, or its id if the file is gone.
        asked: Its budget.
        took: Seconds from its start to its end; None while it has no end.
    """

    job: JobView
    title: str
    data: str
    asked: str
    state: str
    took: float | None

    @classmethod
    def of(cls, job: JobView, parts: Parts) -> JobCard:
        """The card of a job, with its files by name where they still exist."""
        took = None
        if job.started_at is not None and job.finished_at is not None:
            took = (job.finished_at - job.started_at).total_seconds()
        return cls(
            job=job,
            title=_model_name(parts, job.model_id),
            data=_data_name(parts, job.dataset_id),
            asked=words.budget(job.recipe),
            state=words.STATES[job.state],
            took=took,
        )

    @property
    def recipe(self) -> str:
        """Where its recipe differs from the defaults."""
        return write(shortened(self.job.recipe))

    @property
    def steps(self) -> list[Step]:
        """Every stage, in order."""
        return steps(self.job)

    @property
    def percent(self) -> int:
        """How much is behind it."""
        return round(100 * self.job.overall)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One way to narrow the list of jobs."""

    title: str
    states: tuple[JobState, ...]

    @property
    def query(self) -> str:
        """The query string of the list it leads to."""
        return "&".join(f"state={state}" for state in self.states)


FILTERS = (
    Filter(title="All", states=()),
    Filter(title="Active", states=(JobState.QUEUED, JobState.RUNNING)),
    Filter(title="Done", states=(JobState.SUCCEEDED,)),
    Filter(title="Failed", states=(JobState.FAILED,)),
    Filter(title="Cancelled", states=(JobState.CANCELLED,)),
)


def steps(job: JobView) -> list[Step]:
    """Every stage of a job and how it stands; a job that ended well has all of them behind it."""
    names = list(WEIGHTS)
    if job.stage is not None and job.stage not in names:
        names.append(job.stage)
    here = names.index(job.stage) if job.stage in names else -1
    return [Step(name, words.stage(name), _mark(job, index, here)) for index, name in enumerate(names)]


def _mark(job: JobView, index: int, here: int) -> Mark:
    if job.state is JobState.SUCCEEDED or index < here:
        return "done"
    if index > here:
        return "ahead"
    return "failed" if job.state in TERMINAL else "now"


def earlier(attempts: list[AttemptView]) -> list[AttemptView]:
    """The attempts before the last one that left an error."""
    return [attempt for attempt in attempts[:-1] if attempt.error is not None]


def _model_name(parts: Parts, id: str) -> str:
    try:
        return parts.models.get(id).name
    except NotFound:
        return id


def _data_name(parts: Parts, id: str) -> str:
    try:
        return parts.datasets.get(id).name
    except NotFound:
        return id
