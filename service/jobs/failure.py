"""An error as it is stored with a job."""

from __future__ import annotations

from typing import Any

from service.jobs.text import clean, finite
from sosp_core.errors import SospError


def failure(error: SospError, *, stage: str | None, attempt: int) -> dict[str, Any]:
    """``error`` as plain JSON, with where and when it happened."""
    return place(tell(error), stage=stage, attempt=attempt)


def tell(error: SospError) -> dict[str, Any]:
    """``error`` as the process that met it tells of it."""
    return {
        "code": error.code,
        "detail": clean(str(error)),
        "details": finite(error.details()),
        "retryable": error.retryable,
    }


def place(told: dict[str, Any], *, stage: str | None, attempt: int) -> dict[str, Any]:
    """An error that was told as ``{code, detail, details, retryable}``, made safe to store."""
    return {
        "code": clean(str(told["code"]), 64),
        "detail": clean(str(told["detail"])),
        "details": finite(told["details"]),
        "retryable": bool(told["retryable"]),
        "stage": stage,
        "attempt": attempt,
    }
