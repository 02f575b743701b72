"""Errors the product raises on purpose.

SospError
├── InputError                  what was handed in; a retry cannot help
│   ├── ModelError
│   │   ├── ModelNotOnnx        reason
│   │   ├── ModelInvalid        reason, node
│   │   ├── ModelTooLarge       quantity, got, limit
│   │   ├── BundleUnreadable    reason
│   │   ├── ExternalDataUnsafe  tensor, path
│   │   ├── ExternalDataMissing tensor, path, reason
│   │   ├── ModelQuantized      nodes
│   │   ├── UnsupportedOps      nodes
│   │   ├── UnsupportedModel    reason
│   │   ├── WeightsNotFinite    initializer
│   │   ├── NothingToCompress   refusals
│   │   ├── NoBottleneck        layers, threshold
│   │   └── NothingToWiden      refusals
│   ├── DataError
│   │   ├── DataUnreadable      reason
│   │   ├── DataTooLarge        file
│   │   ├── DataMismatch        field, expected, got
│   │   ├── DataEmpty           field
│   │   └── DataNotFinite       field, count
│   ├── RecipeInvalid           field, reason
│   └── TargetUnreachable       metric, asked, reachable
├── CheckFailed                 a result did not prove itself
│   ├── ConversionFailed    reason, node
│   ├── ConversionDiverged      tensor, node, error, tolerance
│   ├── SurgeryDiverged         tensor, error, tolerance
│   ├── WideningDiverged        tensor, error, tolerance
│   ├── WriteBackDiverged       tensor, error, tolerance
│   ├── NotDeterministic        quantity, difference
│   └── OutputRejected          reason
├── TrainingDiverged            step
├── ResourceError               the machine; a retry may help
│   ├── OutOfMemory             device
│   ├── DeviceAbsent            device
│   └── DeviceLost              device, reason
└── Cancelled                   stage

Every concrete class has a stable ``code``. Translation to HTTP statuses and exit codes
happens at one border each (``service.problems``, ``service.cli.main``), never here.
"""

from sosp_core.errors.base import InputError, SospError, every_error
from sosp_core.errors.model import (
    BundleUnreadable,
    ExternalDataMissing,
    ExternalDataUnsafe,
    ModelError,
    ModelInvalid,
    ModelNotOnnx,
    ModelQuantized,
    ModelTooLarge,
    NoBottleneck,
    NothingToCompress,
    NothingToWiden,
    UnsupportedModel,
    UnsupportedOps,
    WeightsNotFinite,
)
from sosp_core.errors.order import (
    DataEmpty,
    DataError,
    DataMismatch,
    DataNotFinite,
    DataTooLarge,
    DataUnreadable,
    RecipeInvalid,
    TargetUnreachable,
)
from sosp_core.errors.proof import (
    CheckFailed,
    ConversionDiverged,
    ConversionFailed,
    Diverged,
    NotDeterministic,
    OutputRejected,
    SurgeryDiverged,
    WideningDiverged,
    WriteBackDiverged,
)
from sosp_core.errors.run import (
    Cancelled,
    DeviceAbsent,
    DeviceLost,
    OutOfMemory,
    ResourceError,
    TrainingDiverged,
)

__all__ = [
    "BundleUnreadable",
    "Cancelled",
    "CheckFailed",
    "ConversionDiverged",
    "ConversionFailed",
    "DataEmpty",
    "DataError",
    "DataMismatch",
    "DataNotFinite",
    "DataTooLarge",
    "DataUnreadable",
    "DeviceAbsent",
    "DeviceLost",
    "Diverged",
    "ExternalDataMissing",
    "ExternalDataUnsafe",
    "InputError",
    "ModelError",
    "ModelInvalid",
    "ModelNotOnnx",
    "ModelQuantized",
    "ModelTooLarge",
    "NoBottleneck",
    "NotDeterministic",
    "NothingToCompress",
    "NothingToWiden",
    "OutOfMemory",
    "OutputRejected",
    "RecipeInvalid",
    "ResourceError",
    "SospError",
    "SurgeryDiverged",
    "TargetUnreachable",
    "TrainingDiverged",
    "UnsupportedModel",
    "UnsupportedOps",
    "WeightsNotFinite",
    "WideningDiverged",
    "WriteBackDiverged",
    "every_error",
]
