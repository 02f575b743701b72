"""What was asked for, and why it is not given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from service.errors.base import ServiceError


class RequestError(ServiceError):
    """The request cannot be served as it is."""


@dataclass(eq=False, kw_only=True)
class NotFound(RequestError):
    """There is no such thing here."""

    code: ClassVar[str] = "not_found"
    kind: str
    id: str

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.id!r}"


@dataclass(eq=False, kw_only=True)
class InUse(RequestError):
    """An unfinished job still needs it."""

    code: ClassVar[str] = "in_use"
    kind: str
    id: str
    job_id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id!r} is used by the unfinished job {self.job_id!r}"


@dataclass(eq=False, kw_only=True)
class JobNotFinished(RequestError):
    """The job has to end first; cancel it or wait."""

    code: ClassVar[str] = "job_not_finished"
    id: str
    state: str

    def __str__(self) -> str:
        return f"job {self.id!r} is {self.state}; cancel it or wait for its end"


@dataclass(eq=False, kw_only=True)
class JobNotFailed(RequestError):
    """Only a job that failed or was cancelled is tried again."""

    code: ClassVar[str] = "job_not_failed"
    id: str
    state: str

    def __str__(self) -> str:
        return f"job {self.id!r} is {self.state}; only failed and cancelled ones are tried again"


@dataclass(eq=False, kw_only=True)
class ArgumentInvalid(RequestError):
    """A header or query parameter cannot be read."""

    code: ClassVar[str] = "argument_invalid"
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False, kw_only=True)
class ArtifactGone(RequestError):
    """The job made this file, and it is no longer on the disk."""

    code: ClassVar[str] = "artifact_gone"
    job_id: str
    name: str

    def __str__(self) -> str:
        return f"job {self.job_id!r} made {self.name!r}, but the file is no longer on the disk"


@dataclass(eq=False, kw_only=True)
class RangeUnsatisfiable(RequestError):
    """The byte range lies outside the file."""

    code: ClassVar[str] = "range_unsatisfiable"
    size: int

    def __str__(self) -> str:
        return f"the requested range lies outside the {self.size:,} bytes of the file"


@dataclass(eq=False, kw_only=True)
class UploadTooLarge(RequestError):
    """The body is larger than this installation accepts."""

    code: ClassVar[str] = "upload_too_large"
    limit: int

    def __str__(self) -> str:
        return f"the body is larger than the limit of {self.limit:,} bytes"


@dataclass(eq=False, kw_only=True)
class ChecksumMismatch(RequestError):
    """The bytes that arrived are not the ones announced."""

    code: ClassVar[str] = "checksum_mismatch"
    expected: str
    got: str

    def __str__(self) -> str:
        return f"the body has sha256 {self.got}, announced was {self.expected}"


@dataclass(eq=False, kw_only=True)
class EncodingUnsupported(RequestError):
    """The body is compressed in transfer; only the plain bytes are accepted."""

    code: ClassVar[str] = "encoding_unsupported"
    encoding: str

    def __str__(self) -> str:
        return f"Content-Encoding {self.encoding!r} is not accepted; send the plain bytes"


@dataclass(eq=False, kw_only=True)
class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used before, with another body."""

    code: ClassVar[str] = "idempotency_mismatch"
    key: str

    def __str__(self) -> str:
        return f"Idempotency-Key {self.key!r} was used before with another body"


@dataclass(eq=False, kw_only=True)
class Unauthenticated(RequestError):
    """The request names no key that is valid here."""

    code: ClassVar[str] = "unauthenticated"
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; send one as Authorization: Bearer KEY"


@dataclass(eq=False, kw_only=True)
class Forbidden(RequestError):
    """The key is valid, and not for this."""

    code: ClassVar[str] = "forbidden"
    role: str

    def __str__(self) -> str:
        return f"this takes a key of the role {self.role}"


@dataclass(eq=False, kw_only=True)
class HostRefused(RequestError):
    """Without keys the service answers to names of this machine only."""

    code: ClassVar[str] = "host_refused"
    host: str

    def __str__(self) -> str:
        return f"{self.host!r} is not this machine; use 127.0.0.1 or localhost, or make an API key"


@dataclass(eq=False, kw_only=True)
class ProxyRefused(RequestError):
    """Without keys whoever can reach the proxy in front could do everything."""

    code: ClassVar[str] = "proxy_refused"
    header: str

    def __str__(self) -> str:
        return f"{self.header} says that a proxy is in front; make an API key first: sosp keys create NAME"


@dataclass(eq=False, kw_only=True)
class OriginRefused(RequestError):
    """The request was made by a web page that is not ours."""

    code: ClassVar[str] = "origin_refused"
    origin: str

    def __str__(self) -> str:
        return f"requests made by pages of {self.origin!r} are not served"


@dataclass(eq=False, kw_only=True)
class FormRefused(RequestError):
    """The form is not of this session; load its page again."""

    code: ClassVar[str] = "form_refused"

    def __str__(self) -> str:
        return "the form was made for another session or has expired; load its page again"


@dataclass(eq=False, kw_only=True)
class TooManyRequests(RequestError):
    """Requests come faster than this installation allows."""

    code: ClassVar[str] = "too_many_requests"
    retry_after_s: int

    def __str__(self) -> str:
        return f"too many requests; try again in {self.retry_after_s} s"


@dataclass(eq=False, kw_only=True)
class QuotaExceeded(RequestError):
    """The owner's files would take more room than allowed; delete what is not needed."""

    code: ClassVar[str] = "quota_exceeded"
    limit: int

    def __str__(self) -> str:
        return f"all files together would exceed the limit of {self.limit:,} bytes; delete some"


@dataclass(eq=False, kw_only=True)
class QueueFull(RequestError):
    """The owner has as many jobs waiting as allowed."""

    code: ClassVar[str] = "queue_full"
    retryable: ClassVar[bool] = True
    limit: int

    def __str__(self) -> str:
        return f"{self.limit} jobs are waiting already, which is the limit"


@dataclass(eq=False, kw_only=True)
class OffsetMismatch(RequestError):
    """The piece does not begin where the upload stands; ask for Upload-Offset again."""

    code: ClassVar[str] = "offset_mismatch"
    expected: int
    got: int

    def __str__(self) -> str:
        return f"the upload stands at {self.expected:,} bytes, the piece begins at {self.got:,}"


@dataclass(eq=False, kw_only=True)
class UploadBusy(RequestError):
    """Another request appends to this upload."""

    code: ClassVar[str] = "upload_busy"
    retryable: ClassVar[bool] = True
    id: str

    def __str__(self) -> str:
        return f"another request is appending to upload {self.id!r}"


@dataclass(eq=False, kw_only=True)
class UploadExpired(RequestError):
    """The upload made no progress for too long; begin a new one."""

    code: ClassVar[str] = "upload_expired"
    id: str

    def __str__(self) -> str:
        return f"upload {self.id!r} has expired; begin a new one"


@dataclass(eq=False, kw_only=True)
class TooManyUploads(RequestError):
    """The owner has as many unfinished uploads as allowed; finish or delete some."""

    code: ClassVar[str] = "too_many_uploads"
    limit: int

    def __str__(self) -> str:
        return f"{self.limit} uploads are unfinished already, which is the limit; finish or delete some"


@dataclass(eq=False, kw_only=True)
class MediaTypeUnsupported(RequestError):
    """The body is not of the type that belongs here."""

    code: ClassVar[str] = "media_type_unsupported"
    expected: str

    def __str__(self) -> str:
        return f"Content-Type has to be {self.expected}"


@dataclass(eq=False, kw_only=True)
class CallbackForbidden(RequestError):
    """This installation does not call there."""

    code: ClassVar[str] = "callback_forbidden"
    reason: str

    def __str__(self) -> str:
        return f"callback_url is not allowed: {self.reason}"
