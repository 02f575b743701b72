"""Errors the service raises on purpose, beside those of the core.

ServiceError(SospError)
├── RequestError                what was asked for
│   ├── NotFound                kind, id
│   ├── InUse                   kind, id, job_id
│   ├── JobNotFinished          id, state
│   ├── JobNotFailed            id, state
│   ├── ArgumentInvalid         field, reason
│   ├── ArtifactGone            job_id, name
│   ├── RangeUnsatisfiable      size
│   ├── UploadTooLarge          limit
│   ├── ChecksumMismatch        expected, got
│   ├── EncodingUnsupported     encoding
│   ├── IdempotencyMismatch     key
│   ├── Unauthenticated         reason
│   ├── Forbidden               role
│   ├── HostRefused             host
│   ├── ProxyRefused            header
│   ├── OriginRefused           origin
│   ├── FormRefused
│   ├── TooManyRequests         retry_after_s
│   ├── QuotaExceeded           limit
│   ├── QueueFull               limit
│   ├── OffsetMismatch          expected, got
│   ├── UploadBusy              id
│   ├── UploadExpired           id
│   ├── TooManyUploads          limit
│   ├── MediaTypeUnsupported    expected
│   └── CallbackForbidden       reason
├── StorageFull                 what
├── Unavailable                 part
├── CannotStart                 reason
├── BackupUnusable              reason
└── AttemptLost                 what ended an attempt from outside
    ├── ProcessKilled           signal, hint
    ├── ProcessExited           status
    ├── ResultIncomplete        name
    ├── ResultTooLarge          limit
    ├── ProcessorTimeExceeded   limit_s
    ├── UploadDamaged           kind, id
    ├── TimeLimitExceeded       limit_s
    └── WorkerLost              attempt
"""

from service.errors.base import ServiceError
from service.errors.request import (
    ArgumentInvalid,
    ArtifactGone,
    CallbackForbidden,
    ChecksumMismatch,
    EncodingUnsupported,
    Forbidden,
    FormRefused,
    HostRefused,
    IdempotencyMismatch,
    InUse,
    JobNotFailed,
    JobNotFinished,
    MediaTypeUnsupported,
    NotFound,
    OffsetMismatch,
    OriginRefused,
    ProxyRefused,
    QueueFull,
    QuotaExceeded,
    RangeUnsatisfiable,
    RequestError,
    TooManyRequests,
    TooManyUploads,
    Unauthenticated,
    UploadBusy,
    UploadExpired,
    UploadTooLarge,
)
from service.errors.system import BackupUnusable, CannotStart, StorageFull, Unavailable
from service.errors.worker import (
    AttemptLost,
    ProcessExited,
    ProcessKilled,
    ProcessorTimeExceeded,
    ResultIncomplete,
    ResultTooLarge,
    TimeLimitExceeded,
    UploadDamaged,
    WorkerLost,
)

__all__ = [
    "ArgumentInvalid",
    "ArtifactGone",
    "AttemptLost",
    "BackupUnusable",
    "CallbackForbidden",
    "CannotStart",
    "ChecksumMismatch",
    "EncodingUnsupported",
    "Forbidden",
    "FormRefused",
    "HostRefused",
    "IdempotencyMismatch",
    "InUse",
    "JobNotFailed",
    "JobNotFinished",
    "MediaTypeUnsupported",
    "NotFound",
    "OffsetMismatch",
    "OriginRefused",
    "ProcessExited",
    "ProcessKilled",
    "ProcessorTimeExceeded",
    "ProxyRefused",
    "QueueFull",
    "QuotaExceeded",
    "RangeUnsatisfiable",
    "RequestError",
    "ResultIncomplete",
    "ResultTooLarge",
    "ServiceError",
    "StorageFull",
    "TimeLimitExceeded",
    "TooManyRequests",
    "TooManyUploads",
    "Unauthenticated",
    "Unavailable",
    "UploadBusy",
    "UploadDamaged",
    "UploadExpired",
    "UploadTooLarge",
    "WorkerLost",
]
