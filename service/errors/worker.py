"""What ended an attempt from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from service.errors.base import ServiceError


class AttemptLost(ServiceError):
    """An attempt ended without saying how."""

    retryable: ClassVar[bool] = True


@dataclass(eq=False, kw_only=True)
class ProcessKilled(AttemptLost):
    """The job's process was ended by a signal."""

    code: ClassVar[str] = "process_killed"
    signal: str
    hint: str = ""

    def __str__(self) -> str:
        return f"the job's process was ended by {self.signal}" + (f": {self.hint}" if self.hint else "")


@dataclass(eq=False, kw_only=True)
class ProcessExited(AttemptLost):
    """The job's process ended without a result."""

    code: ClassVar[str] = "process_exited"
    status: int

    def __str__(self) -> str:
        return f"the job's process ended with status {self.status} and no result"


@dataclass(eq=False, kw_only=True)
class ResultIncomplete(AttemptLost):
    """The job's process reported success and left a file out."""

    code: ClassVar[str] = "result_incomplete"
    retryable: ClassVar[bool] = False
    name: str

    def __str__(self) -> str:
        return f"the job's process reported success, but made no {self.name}"


@dataclass(eq=False, kw_only=True)
class ResultTooLarge(AttemptLost):
    """The job's process tried to write a larger file than this installation allows."""

    code: ClassVar[str] = "result_too_large"
    retryable: ClassVar[bool] = False
    limit: int

    def __str__(self) -> str:
        return f"the job tried to write a file larger than the limit of {self.limit:,} bytes"


@dataclass(eq=False, kw_only=True)
class ProcessorTimeExceeded(AttemptLost):
    """The attempt used more processor time than this installation allows."""

    code: ClassVar[str] = "processor_time_exceeded"
    retryable: ClassVar[bool] = False
    limit_s: int

    def __str__(self) -> str:
        return f"the job used more processor time than the limit of {self.limit_s} s"


@dataclass(eq=False, kw_only=True)
class UploadDamaged(AttemptLost):
    """The stored bytes of an upload are not the ones that were sent; upload it again."""

    code: ClassVar[str] = "upload_damaged"
    retryable: ClassVar[bool] = False
    kind: str
    id: str

    def __str__(self) -> str:
        return f"the stored file of {self.kind} {self.id!r} is missing or damaged; upload it again"


@dataclass(eq=False, kw_only=True)
class TimeLimitExceeded(AttemptLost):
    """The attempt ran longer than this installation allows."""

    code: ClassVar[str] = "time_limit_exceeded"
    retryable: ClassVar[bool] = False
    limit_s: float

    def __str__(self) -> str:
        return f"the job ran longer than the limit of {self.limit_s:g} s"


@dataclass(eq=False, kw_only=True)
class WorkerLost(AttemptLost):
    """The worker that held the job fell silent."""

    code: ClassVar[str] = "worker_lost"
    attempt: int

    def __str__(self) -> str:
        return f"the worker fell silent during attempt {self.attempt}"
