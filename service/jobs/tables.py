"""The rows that are the truth about uploads and jobs.

Times are seconds since 1970, UTC, by the database's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Enum, Float, ForeignKey, Index, MetaData, String, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from service.jobs.states import ANY, JobState

# Who owns what is made without a key.
LOCAL = "local"


class Role(StrEnum):
    """What the holder of a key may do."""

    USER = "user"  # everything with what is its own
    ADMIN = "admin"  # everything with what is anybody's


class clock(FunctionElement[float]):  # noqa: N801  reads as the SQL function it is
    """The database's own time, so that workers need not agree on one."""

    type = Float()
    inherit_cache = True


@compiles(clock, "sqlite")
def _clock_sqlite(element: clock, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock)
def _clock(element: clock, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


class Base(DeclarativeBase):
    """Parent of all rows."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        JobState: Enum(JobState, native_enum=False, length=16, values_callable=list),
        Role: Enum(Role, native_enum=False, length=16, values_callable=list),
    }


class Upload:
    """What models and datasets have in common: a name for the people, a digest for the bytes."""

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(40), index=True, default=LOCAL)
    name: Mapped[str] = mapped_column(String(255))
    format: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(Float(53))


class Model(Upload, Base):
    """An uploaded network."""

    __tablename__ = "model"


class Dataset(Upload, Base):
    """Uploaded calibration or evaluation data."""

    __tablename__ = "dataset"


class PartialUpload(Base):
    """A file that arrives in pieces; ``offset`` bytes of it are safely here."""

    __tablename__ = "partial_upload"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(40), index=True, default=LOCAL)
    kind: Mapped[str] = mapped_column(String(16))  # "model" or "dataset"
    name: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str | None] = mapped_column(String(64))
    # The model or dataset it became.
    result_id: Mapped[str | None] = mapped_column(String(40), default=None)
    created_at: Mapped[float] = mapped_column(Float(53))
    updated_at: Mapped[float] = mapped_column(Float(53), index=True)


class Job(Base):
    """One compression.

    ``seq`` grows with every visible change. ``fence`` grows with every claim: a worker may write
    only while its own number is the current one.
    """

    __tablename__ = "job"
    __table_args__ = (Index("ix_job_state_lease_until", "state", "lease_until"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(40), index=True, default=LOCAL)
    seq: Mapped[int] = mapped_column(default=1)
    state: Mapped[JobState] = mapped_column(default=JobState.QUEUED)
    # No foreign keys: a finished job outlives the uploads it was made from.
    model_id: Mapped[str] = mapped_column(String(40), index=True)
    dataset_id: Mapped[str] = mapped_column(String(40), index=True)
    evaluation_id: Mapped[str | None] = mapped_column(String(40), index=True)
    recipe: Mapped[dict[str, Any]]
    queue: Mapped[str] = mapped_column(String(48), default=ANY)
    retry_of: Mapped[str | None] = mapped_column(String(40), default=None)
    callback_url: Mapped[str | None] = mapped_column(String(2000), default=None)
    # The span of the request that made it, for those of its attempts.
    traceparent: Mapped[str | None] = mapped_column(String(64), default=None)

    stage: Mapped[str | None] = mapped_column(String(64), default=None)
    progress: Mapped[float] = mapped_column(Float(53), default=0.0)
    overall: Mapped[float] = mapped_column(Float(53), default=0.0)
    eta_s: Mapped[float | None] = mapped_column(Float(53), default=None)
    message: Mapped[str] = mapped_column(Text, default="")
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    artifacts: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    artifact_bytes: Mapped[int] = mapped_column(BigInteger, default=0)

    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None] = mapped_column(Float(53), default=None)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    published_at: Mapped[float | None] = mapped_column(Float(53), default=None)
    # After a failed attempt: when the next one may begin.
    not_before: Mapped[float | None] = mapped_column(Float(53), default=None)

    created_at: Mapped[float] = mapped_column(Float(53))
    updated_at: Mapped[float] = mapped_column(Float(53))
    started_at: Mapped[float | None] = mapped_column(Float(53), default=None)
    finished_at: Mapped[float | None] = mapped_column(Float(53), default=None)


class JobEvent(Base):
    """What a job looked like after one change; rows are only ever added."""

    __tablename__ = "job_event"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # "state" or "progress"
    at: Mapped[float] = mapped_column(Float(53))
    data: Mapped[dict[str, Any]]


class JobAttempt(Base):
    """Who tried a job, and how that ended."""

    __tablename__ = "job_attempt"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[float] = mapped_column(Float(53))
    ended_at: Mapped[float | None] = mapped_column(Float(53), default=None)
    outcome: Mapped[str | None] = mapped_column(String(16), default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)


class Delivery(Base):
    """What a job's callback is still to be told, or was."""

    __tablename__ = "delivery"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    # None once it was delivered, or given up.
    due_at: Mapped[float | None] = mapped_column(Float(53), index=True)
    tries: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[float | None] = mapped_column(Float(53), default=None)
    outcome: Mapped[str] = mapped_column(String(255), default="")


class IdempotencyKey(Base):
    """A key a client chose, and the job its request made."""

    __tablename__ = "idempotency_key"

    owner: Mapped[str] = mapped_column(String(40), primary_key=True, default=LOCAL)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    created_at: Mapped[float] = mapped_column(Float(53), index=True)


class Worker(Base):
    """A worker process that said when it was last alive."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Float(53))
    queues: Mapped[str] = mapped_column(String(255), default=ANY)


class StageTotal(Base):
    """How often a stage was gone through, and how long that took altogether."""

    __tablename__ = "stage_total"

    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger, default=0)
    seconds: Mapped[float] = mapped_column(Float(53), default=0.0)


class Installation(Base):
    """One row, whose id the data directory knows too: files and rows that belong together."""

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)


class ApiKey(Base):
    """A key and what it may do; of the secret only the digest is known here."""

    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    role: Mapped[Role]
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float(53))
    revoked_at: Mapped[float | None] = mapped_column(Float(53), default=None)
