"""The JSON of requests and answers."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service import problems, recipes
from service.jobs.order import JobOrder
from service.jobs.states import TERMINAL, JobState
from service.settings import QUEUE
from sosp_core.presets import PRESETS, Preset

if TYPE_CHECKING:  # the client shares these schemas, and has no database
    from service.jobs.tables import Dataset, Job, JobAttempt, JobEvent, Model, PartialUpload

DEFAULT_PAGE, LARGEST_PAGE = 50, 200


def _utc(value: datetime.datetime) -> datetime.datetime:
    return value.astimezone(datetime.UTC)


Time = Annotated[datetime.datetime, AfterValidator(_utc)]


class RecipeSchema:
    """Documents an object, or a name, as a recipe; ``recipes.build`` is who validates it."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The JSON schema of the core's classes, with ``base``; or one of the names."""
        known = {"type": "string", "enum": list(PRESETS), "description": "From GET /v1/recipes."}
        own = handler.resolve_ref_schema(handler(recipes.ADAPTER.core_schema))
        return {"anyOf": [{**own, "properties": {"base": known, **own["properties"]}}, known]}


class RecipeView(BaseModel):
    """A recipe with a name."""

    name: str
    gives: str = Field(description="What comes of it.")
    when: str = Field(description="When to take it.")
    recipe: dict[str, Any] = Field(description="Every default spelled out.")

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """The view of a preset."""
        told = {"name": preset.name, "gives": preset.gives, "when": preset.when}
        return cls.model_validate({**told, "recipe": recipes.dump(preset.recipe)})


class RecipeList(BaseModel):
    """The recipes that have names."""

    items: list[RecipeView]


class Strict(BaseModel):
    """A request: no unknown fields, no lax conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class JobRequest(Strict):
    """A job to queue."""

    model_id: str = Field(max_length=64, description="From POST /v1/models.")
    dataset_id: str = Field(max_length=64, description="From POST /v1/datasets; for scoring and training.")
    evaluation_id: str | None = Field(
        default=None, max_length=64, description="A dataset to measure with; else a share of dataset_id is."
    )
    recipe: Annotated[dict[str, Any] | str, RecipeSchema] = Field(
        default_factory=dict,
        description="What to do: a name, or an object; every field has a default, its base may be a name.",
    )
    queue: str = Field(
        default="any", pattern=f"^({QUEUE})$", description="Where to run: any, cpu, gpu or bench.<label>."
    )

    callback_url: str | None = Field(
        default=None, max_length=2000, description="Is sent a signed POST when the job has ended."
    )

    def to_order(self) -> JobOrder:
        """What the store needs; ``RecipeInvalid`` if the recipe is not one."""
        return JobOrder(
            model_id=self.model_id,
            dataset_id=self.dataset_id,
            evaluation_id=self.evaluation_id,
            recipe=recipes.dump(recipes.build(self.recipe)),
            queue=self.queue,
            callback_url=self.callback_url,
        )


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=LARGEST_PAGE)
    cursor: str | None = Field(default=None, max_length=200, description="next_cursor of the page before.")


class JobsQuery(PageQuery):
    """Which jobs."""

    state: list[JobState] = Field(default_factory=list, description="Only jobs in one of these states.")


class UploadView(BaseModel):
    """An uploaded file."""

    id: str
    name: str
    format: str = Field(description="onnx; or npz, npy, safetensors, zip (of images).")
    sha256: str
    size: int = Field(description="Bytes.")
    created_at: Time

    @classmethod
    def of(cls, row: Model | Dataset) -> Self:
        """The view of a row."""
        return cls.model_validate(row, from_attributes=True)


class PartialView(BaseModel):
    """An upload that arrives in pieces."""

    id: str
    kind: str = Field(description="model or dataset.")
    name: str
    size: int = Field(description="Bytes of the whole file.")
    offset: int = Field(description="Bytes that are here.")
    expires_at: Time = Field(description="When it is forgotten, unless more arrives.")
    result: UploadView | None = Field(description="What it became, once it is complete.")

    @classmethod
    def of(cls, row: PartialUpload, ttl_s: float) -> Self:
        """The view of a row."""
        told = {name: getattr(row, name) for name in ("id", "kind", "name", "size", "offset")}
        return cls.model_validate({**told, "expires_at": row.updated_at + ttl_s, "result": None})


class UploadPage(BaseModel):
    """Some uploads, the newest first."""

    items: list[UploadView]
    next_cursor: str | None


class InspectionError(BaseModel):
    """Why a file cannot be inspected."""

    code: str
    title: str
    detail: str
    details: dict[str, Any]
    retryable: bool


class InspectionView(BaseModel):
    """What a model is, what it costs and what could be removed from it."""

    state: Literal["pending", "done", "failed"]
    model_id: str
    inspection: dict[str, Any] | None = Field(
        default=None, description="As `sosp inspect --json` prints it; schema sosp.inspection/1."
    )
    error: InspectionError | None = Field(default=None, description="Why the file cannot be read as a model.")


class JobError(BaseModel):
    """Why a job failed, or its last attempt."""

    code: str = Field(description="Stable name of the kind of error, for programs.")
    title: str
    detail: str = Field(description="What happened this time.")
    details: dict[str, Any] = Field(description="The error's own fields, such as tensor or node.")
    retryable: bool
    stage: str | None
    attempt: int

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """The view of an error as stored with a job."""
        return cls(title=problems.title_of(stored["code"]), **stored)


class AttemptView(BaseModel):
    """One try at a job by one worker."""

    number: int
    worker: str
    started_at: Time
    ended_at: Time | None
    outcome: str | None = Field(description="succeeded, failed, cancelled, lost or released.")
    error: JobError | None

    @classmethod
    def of(cls, row: JobAttempt) -> Self:
        """The view of a row."""
        error = None if row.error is None else JobError.of(row.error)
        told = {name: getattr(row, name) for name in ("worker", "started_at", "ended_at", "outcome")}
        return cls.model_validate({**told, "number": row.fence, "error": error})


class ArtifactView(BaseModel):
    """A file a job made."""

    name: str
    size: int
    sha256: str
    url: str


class Links(BaseModel):
    """Where to go from here."""

    self: str
    cancel: str
    retry: str
    events: str
    artifacts: str


class JobView(BaseModel):
    """A job as it is now."""

    id: str
    seq: int = Field(description="Grows with every visible change.")
    state: JobState
    stage: str | None = Field(description="What is being done.")
    progress: float = Field(description="Share of the stage that is finished, 0 to 1.")
    overall: float = Field(description="Share of the whole job that is finished, 0 to 1; an estimate.")
    eta_s: float | None = Field(description="Seconds until the stage ends, where that can be told.")
    message: str
    metrics: dict[str, Any]
    error: JobError | None
    model_id: str
    dataset_id: str
    evaluation_id: str | None
    recipe: dict[str, Any]
    queue: str = Field(description="Where it runs, or shall run.")
    retry_of: str | None = Field(description="The job this one was made from by asking for it again.")
    callback_url: str | None = Field(default=None, description="Is told when the job has ended.")
    attempt: int = Field(description="Number of the current or last attempt.")
    cancel_requested: bool
    created_at: Time
    updated_at: Time
    started_at: Time | None
    finished_at: Time | None
    artifacts: list[ArtifactView]
    links: Links

    @property
    def finished(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state in TERMINAL

    @classmethod
    def of(cls, job: Job, **more: Any) -> Self:
        """The view of a row."""
        path = f"/v1/jobs/{job.id}"
        links = {name: f"{path}/{name}" for name in ("cancel", "retry", "events", "artifacts")}
        made = {
            "links": {"self": path, **links},
            "artifacts": [
                {**record, "url": f"{path}/artifacts/{record['name']}"} for record in job.artifacts
            ],
            "error": None if job.error is None else JobError.of(job.error),
            **more,
        }
        told = {name: getattr(job, name) for name in cls.model_fields if name not in made}
        return cls.model_validate({**told, **made})


class JobDetail(JobView):
    """A job with the history of its attempts, the first one first."""

    attempts: list[AttemptView]


class JobPage(BaseModel):
    """Some jobs, the newest first."""

    items: list[JobView]
    next_cursor: str | None


class ArtifactList(BaseModel):
    """The files a job made."""

    items: list[ArtifactView]


class EventView(BaseModel):
    """What a job looked like after one change."""

    seq: int
    kind: str = Field(description="state or progress")
    at: Time
    state: JobState
    stage: str | None
    progress: float
    overall: float
    eta_s: float | None
    message: str
    metrics: dict[str, Any]
    error: JobError | None
    attempt: int

    @classmethod
    def of(cls, row: JobEvent) -> Self:
        """The view of a row."""
        error = row.data["error"]
        told = {"seq": row.seq, "kind": row.kind, "at": row.at}
        return cls.model_validate(row.data | told | {"error": None if error is None else JobError.of(error)})
