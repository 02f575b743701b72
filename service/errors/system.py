"""What the installation lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from service.errors.base import ServiceError


@dataclass(eq=False, kw_only=True)
class StorageFull(ServiceError):
    """The disk has no room left for this."""

    code: ClassVar[str] = "insufficient_storage"
    retryable: ClassVar[bool] = True
    what: str

    def __str__(self) -> str:
        return f"not enough free disk space for {self.what}"


@dataclass(eq=False, kw_only=True)
class Unavailable(ServiceError):
    """A part of the service does not answer; try again later."""

    code: ClassVar[str] = "unavailable"
    retryable: ClassVar[bool] = True
    part: str

    def __str__(self) -> str:
        return f"the {self.part} does not answer; try again later"


@dataclass(eq=False, kw_only=True)
class CannotStart(ServiceError):
    """The server cannot run with these settings."""

    code: ClassVar[str] = "cannot_start"
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False, kw_only=True)
class BackupUnusable(ServiceError):
    """There is nothing that could be saved or restored this way."""

    code: ClassVar[str] = "backup_unusable"
    reason: str

    def __str__(self) -> str:
        return self.reason
