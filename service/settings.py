"""What an installation can be told, from ``SOSP_*`` environment variables or by argument.

Read once, in ``service.app.create_app``, ``worker.app.create_worker`` and the command line; never at import.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

import platformdirs
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 2**30
SHORTEST_SECRET = 24
# ``any`` runs on whatever is free, ``cpu`` and ``gpu`` on workers that say so, and ``bench.<label>``
# on the very hardware whose speed matters.
QUEUE = r"any|cpu|gpu|bench\.[a-z0-9][a-z0-9-]{0,31}"
DEVICE = r"cpu|cuda(:[0-9]{1,3})?"
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """The settings of one process; an empty URL means SQLite under ``data_dir``."""

    model_config = SettingsConfigDict(env_prefix="SOSP_", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("sosp"),
        description="Where uploads, results and the default databases live.",
    )
    database_url: str = Field(default="", description="SQLAlchemy URL of the job database.")
    broker_url: str = Field(default="", description="Celery broker: redis://... or sqla+sqlite:///...")
    database_password_file: str = Field(
        default="", description="File with the password of database_url, which then holds none."
    )
    broker_password_file: str = Field(
        default="", description="File with the password of broker_url, which then holds none."
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the API listens on.")
    log_level: LogLevel = Field(default="info", description="How much is logged.")
    log_format: LogFormat = Field(default="text", description="text for people, json for programs.")

    otlp_endpoint: str = Field(
        default="",
        description="OpenTelemetry collector, such as http://collector:4318, or OTEL_EXPORTER_OTLP_ENDPOINT.",
    )

    require_keys: bool = Field(
        default=False, description="Every request takes an API key; without this, once one was made."
    )
    requests_per_minute: int = Field(
        default=1200, ge=1, description="Requests of one key, by each API process; as many at once."
    )
    max_stored_bytes: int = Field(
        default=64 * GIB, ge=1, description="Size of all uploads and results of one key."
    )
    max_queued_jobs: int = Field(default=1000, ge=1, description="Waiting jobs of one key.")
    max_running_jobs: int = Field(
        default=100, ge=1, description="Running jobs of one key; further ones wait for their turn."
    )
    body_patience_s: float = Field(
        default=30.0, gt=0, description="A body may be this much slower than 1 KiB/s, and pause this long."
    )
    max_upload_bytes: int = Field(default=2 * GIB, ge=1, description="Largest accepted file.")
    max_unpacked_bytes: int = Field(
        default=16 * GIB, ge=1, description="Largest size a data archive may declare to unpack to."
    )
    free_space_floor_bytes: int = Field(
        default=GIB, ge=0, description="Uploads are refused while less than this would stay free on the disk."
    )

    queues: str = Field(
        default="any,cpu,gpu", description="Queues a worker takes jobs from: any, cpu, gpu, bench.<label>."
    )
    keep_jobs_s: float = Field(
        default=0, ge=0, description="Jobs that ended longer ago are deleted with their results; 0: never."
    )
    keep_uploads_s: float = Field(
        default=0, ge=0, description="Older uploads that no unfinished job uses are deleted; 0: never."
    )
    webhook_origins: str = Field(
        default="",
        description="Where jobs may call back to, such as https://hooks.example.com; none if empty.",
    )
    webhook_networks: str = Field(
        default="", description="Networks callbacks may reach although they are private, such as 10.1.0.0/16."
    )
    webhook_secret: str = Field(
        default="", repr=False, description="Signs callbacks; at least 24 characters."
    )
    task_events: bool = Field(default=False, description="Workers tell Celery's monitors, such as Flower.")
    upload_ttl_s: float = Field(
        default=86_400.0, gt=0, description="An upload in pieces without progress for this long is forgotten."
    )
    keep_checkpoints_s: float = Field(
        default=7 * 86_400.0,
        ge=0,
        description="What a failed or cancelled job had finished is kept this long, for a retry.",
    )
    gc_interval_s: float = Field(
        default=3600.0, gt=0, description="How often files nothing refers to are removed."
    )

    lease_s: float = Field(default=60.0, gt=0, description="A worker silent for this long has lost its job.")
    heartbeat_s: float = Field(default=15.0, gt=0, description="How often a worker renews its lease.")
    cancel_poll_s: float = Field(
        default=1.0, gt=0, description="How often a worker looks for cancel requests."
    )
    cancel_grace_s: float = Field(
        default=2.0, ge=0, description="Time a job has to stop before it is killed."
    )
    job_time_limit_s: float = Field(default=86_400.0, gt=0, description="A longer attempt is killed.")
    job_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Address space of a job's process; 0 sets no limit, as CUDA needs, which reserves much.",
    )
    job_cpu_s: int = Field(default=0, ge=0, description="Processor time of a job's process; 0: no limit.")
    job_file_bytes: int = Field(
        default=16 * GIB, ge=2**20, description="Largest file a job's process may write."
    )
    job_log_bytes: int = Field(default=4 * 2**20, ge=1024, description="Largest log kept of an attempt.")
    job_network: bool = Field(
        default=False, description="A job's process may use the network; without it only loopback, on Linux."
    )
    devices: str = Field(
        default="",
        description="What jobs compute on: cpu, cuda, cuda:N, or several joined by commas, which then train "
        "together; empty: a GPU if there is one.",
    )
    checkpoint_every_s: float = Field(
        default=30.0, ge=0, description="How often training is saved, so that a retry goes on from there."
    )
    retry_pause_s: float = Field(
        default=10.0, ge=0, description="Pause before the second attempt; doubled for each further one."
    )
    max_attempts: int = Field(default=3, ge=1, description="Attempts of a job that keeps losing its process.")

    worker_beat_s: float = Field(default=5.0, gt=0, description="How often a worker says it is alive.")
    worker_ttl_s: float = Field(
        default=30.0, gt=0, description="A worker silent for this long counts as gone."
    )
    reap_interval_s: float = Field(default=5.0, gt=0, description="How often lost jobs are looked for.")
    republish_after_s: float = Field(
        default=30.0, gt=0, description="A queued job is announced again after this time if a worker is idle."
    )
    deaf_after_s: float = Field(
        default=60.0,
        ge=0,
        description="An idle worker that hears nothing of waiting jobs for this long is ended; 0: never.",
    )

    @model_validator(mode="after")
    def _fill_urls(self) -> Self:
        root = self.data_dir.expanduser().resolve()
        self.data_dir = root
        self.database_url = self.database_url or sqlite_url(root / "sosp.db")
        self.broker_url = self.broker_url or f"sqla+{sqlite_url(root / 'broker.db')}"
        self.database_url = _with_password(self.database_url, self.database_password_file)
        self.broker_url = _with_password(self.broker_url, self.broker_password_file)
        return self

    @model_validator(mode="after")
    def _take_standard_endpoint(self) -> Self:
        self.otlp_endpoint = self.otlp_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        if self.otlp_endpoint and urlsplit(self.otlp_endpoint).scheme not in {"http", "https"}:
            raise ValueError("otlp_endpoint must begin with http:// or https://")
        return self

    @field_validator("queues")
    @classmethod
    def _are_queues(cls, value: str) -> str:
        for name in value.split(","):
            if not re.fullmatch(QUEUE, name.strip(), re.ASCII):
                raise ValueError(f"{name!r} is not a queue: any, cpu, gpu or bench.<label>")
        return value

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, value: str) -> str:
        for name in value.split(",") if value else ():
            if not re.fullmatch(DEVICE, name.strip(), re.ASCII):
                raise ValueError(f"{name!r} is no device: cpu, cuda or cuda:N")
        return value

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("lease_s must be at least twice heartbeat_s")
        return self

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.webhook_origins.strip() and len(self.webhook_secret) < SHORTEST_SECRET:
            raise ValueError(
                f"webhook_origins takes a webhook_secret of {SHORTEST_SECRET} characters or more"
            )
        return self

    def environment(self) -> dict[str, str]:
        """The environment variables that give a child process these same settings."""
        return {f"SOSP_{name.upper()}": str(value) for name, value in self.model_dump(mode="json").items()}


def sqlite_url(path: Path) -> str:
    """The URL of the database in a file, whatever its name holds."""
    from sqlalchemy import URL  # the client, which has the words of a queue from here, goes without it

    return URL.create("sqlite", database=str(path)).render_as_string()


def _with_password(url: str, file: str) -> str:
    """``url`` with the password that is in ``file``, if there is one."""
    if not file:
        return url
    try:
        password = Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{name}:{quote(password, safe='')}@{host}"))
