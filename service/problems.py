"""What an error becomes on the wire: a status and a problem document (RFC 9457).

The map is total: every class of both error trees has a status, found along its bases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

import service.errors as service_errors
import sosp_core.errors as core_errors
from service.jobs.text import clean, finite
from sosp_core.errors import SospError, every_error

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[SospError], int] = {
    core_errors.InputError: 422,
    core_errors.ModelTooLarge: 413,
    # These end jobs, and reach a client inside one; as an answer of their own they are our fault.
    core_errors.CheckFailed: 500,
    core_errors.TrainingDiverged: 500,
    core_errors.ResourceError: 503,
    core_errors.Cancelled: 409,
    service_errors.NotFound: 404,
    service_errors.InUse: 409,
    service_errors.JobNotFinished: 409,
    service_errors.JobNotFailed: 409,
    service_errors.ArgumentInvalid: 400,
    service_errors.ArtifactGone: 410,
    service_errors.RangeUnsatisfiable: 416,
    service_errors.UploadTooLarge: 413,
    service_errors.ChecksumMismatch: 422,
    service_errors.EncodingUnsupported: 415,
    service_errors.IdempotencyMismatch: 422,
    service_errors.Unauthenticated: 401,
    service_errors.Forbidden: 403,
    service_errors.HostRefused: 421,
    service_errors.ProxyRefused: 421,
    service_errors.OriginRefused: 403,
    service_errors.FormRefused: 403,
    service_errors.TooManyRequests: 429,
    service_errors.QuotaExceeded: 413,
    service_errors.QueueFull: 429,
    service_errors.OffsetMismatch: 409,
    service_errors.UploadBusy: 423,
    service_errors.UploadExpired: 410,
    service_errors.TooManyUploads: 429,
    service_errors.MediaTypeUnsupported: 415,
    service_errors.CallbackForbidden: 422,
    service_errors.StorageFull: 507,
    service_errors.Unavailable: 503,
    service_errors.CannotStart: 503,
    service_errors.BackupUnusable: 409,
    service_errors.AttemptLost: 500,
}

# Problems no error class stands for: the framework's own, and the bug nobody foresaw.
PLAIN: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request cannot be read"),
    404: ("not_found", "There is no such thing here"),
    405: ("method_not_allowed", "This resource has no such method"),
    408: ("body_too_slow", "The body arrives too slowly"),
    413: ("body_too_large", "The body is too large for this request"),
    422: ("validation_error", "The request does not have the documented form"),
    500: ("internal", "Something went wrong here; the request may be fine"),
}


class FieldError(BaseModel):
    """One field that is not as it should be."""

    field: str = Field(description="Path of the field, such as body.model_id.")
    message: str


class Problem(BaseModel):
    """An error answer, by RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Names the kind of problem; as stable as code.")
    title: str = Field(description="What kind of problem this is.")
    status: int
    detail: str = Field(description="What happened this time.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="Stable name of the kind, for programs.")
    request_id: str
    errors: list[FieldError] | None = None
    details: dict[str, Any] | None = Field(
        default=None, description="The error's own fields, such as limit or node."
    )


def status_of(kind: type[SospError]) -> int:
    """The status an error answers with; ``LookupError`` if the map has a hole."""
    for base in kind.__mro__:
        if base in STATUS:
            return STATUS[base]
    raise LookupError(f"{kind.__name__} has no status")


def title_of(code: str) -> str:
    """What a code means, in a few words."""
    named = {kind.code: _first_line(kind) for kind in every_error() if "code" in vars(kind)}
    return PLAIN[500][1] if code == SospError.code else named.get(code, code)


class Place(NamedTuple):
    """The request an error belongs to."""

    instance: str
    request_id: str


def describe(
    status: int,
    code: str,
    title: str,
    detail: str,
    place: Place,
    *,
    errors: list[FieldError] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Problem:
    """The problem document of these facts, with nothing in it that JSON cannot carry."""
    return Problem(
        type=f"urn:sosp:problem:{code}",
        title=title,
        status=status,
        detail=clean(detail),
        instance=clean(place.instance, 500),
        code=code,
        request_id=place.request_id,
        errors=errors,
        details=finite(details) if details else None,
    )


def of_error(error: SospError, place: Place) -> Problem:
    """The problem document of a deliberate error."""
    kind = type(error)
    title = _first_line(kind)
    return describe(status_of(kind), kind.code, title, str(error), place, details=error.details())


def _first_line(kind: type[SospError]) -> str:
    return (kind.__doc__ or kind.__name__).partition("\n")[0].rstrip(".")
