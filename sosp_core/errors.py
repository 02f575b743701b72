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
│   └── OutOfMemory             device
└── Cancelled                   stage

Every concrete class has a stable ``code``. Translation to HTTP statuses and exit codes
happens at one border each (``service.problems``, ``service.cli.main``), never here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False, kw_only=True)
class SospError(Exception):
    """Base of every deliberate error; carries data, reads as one line."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def details(self) -> dict[str, Any]:
        """The error's fields, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __reduce__(self) -> tuple[Any, ...]:  # keyword-only fields must survive pickling
        return _rebuild, (type(self), self.details())


def _rebuild(cls: type[SospError], values: dict[str, Any]) -> SospError:
    return cls(**values)


class InputError(SospError):
    """What was handed in cannot be used; the same input will fail again."""


class ModelError(InputError):
    """The model file."""


@dataclass(eq=False, kw_only=True)
class ModelNotOnnx(ModelError):
    """The bytes are not a complete ONNX model."""

    code: ClassVar[str] = "model_not_onnx"
    reason: str

    def __str__(self) -> str:
        return f"not an ONNX model: {self.reason}"


@dataclass(eq=False, kw_only=True)
class ModelInvalid(ModelError):
    """The file parses, but breaks the ONNX specification or cannot be run."""

    code: ClassVar[str] = "model_invalid"
    reason: str
    node: str | None = None

    def __str__(self) -> str:
        where = f" at node {self.node!r}" if self.node else ""
        return f"invalid ONNX model{where}: {self.reason}"


@dataclass(eq=False, kw_only=True)
class ModelTooLarge(ModelError):
    """The model exceeds a limit of this installation."""

    code: ClassVar[str] = "model_too_large"
    quantity: str
    got: int
    limit: int

    def __str__(self) -> str:
        return f"the model has {self.got:,} {self.quantity}; the limit is {self.limit:,}"


@dataclass(eq=False, kw_only=True)
class BundleUnreadable(ModelError):
    """A zip archive that should hold one model and its weights, and does not."""

    code: ClassVar[str] = "bundle_unreadable"
    reason: str

    def __str__(self) -> str:
        return f"unusable zip bundle: {self.reason}"


@dataclass(eq=False, kw_only=True)
class ExternalDataUnsafe(ModelError):
    """A weight points to a file that is not plainly beside the model."""

    code: ClassVar[str] = "external_data_unsafe"
    tensor: str
    path: str

    def __str__(self) -> str:
        return (
            f"weight {self.tensor!r} points to {self.path!r}: absolute paths, '..' and links are not followed"
        )


@dataclass(eq=False, kw_only=True)
class ExternalDataMissing(ModelError):
    """A weight lies in an external file that is missing or too short."""

    code: ClassVar[str] = "external_data_missing"
    tensor: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"weight {self.tensor!r} lies in the external file {self.path!r}: {self.reason}"


@dataclass(eq=False, kw_only=True)
class ModelQuantized(ModelError):
    """The model computes with quantised numbers; what can be pruned is the float model."""

    code: ClassVar[str] = "model_quantized"
    nodes: list[str]

    def __str__(self) -> str:
        named = ", ".join(self.nodes[:5]) + (", ..." if len(self.nodes) > 5 else "")
        return (
            f"the model is quantised ({len(self.nodes)} node(s): {named}); "
            "hand in the float model it was made from, and quantise the slim one"
        )


@dataclass(eq=False, kw_only=True)
class UnsupportedOps(ModelError):
    """Operators that cannot be differentiated here, every node of them named."""

    code: ClassVar[str] = "unsupported_op"
    nodes: list[str]

    def __str__(self) -> str:
        return f"no converter for {len(self.nodes)} node(s): {', '.join(self.nodes)}"


@dataclass(eq=False, kw_only=True)
class UnsupportedModel(ModelError):
    """A valid model of a kind that is not handled."""

    code: ClassVar[str] = "unsupported_model"
    reason: str

    def __str__(self) -> str:
        return f"unsupported model: {self.reason}"


@dataclass(eq=False, kw_only=True)
class WeightsNotFinite(ModelError):
    """A weight is NaN or infinite."""

    code: ClassVar[str] = "weights_not_finite"
    initializer: str

    def __str__(self) -> str:
        return f"initializer {self.initializer!r} holds NaN or infinite values"


@dataclass(eq=False, kw_only=True)
class NothingToCompress(ModelError):
    """No structure can be removed; the reasons say why."""

    code: ClassVar[str] = "nothing_to_compress"
    refusals: list[str]

    def __str__(self) -> str:
        why = "; ".join(self.refusals[:5]) or "it has no layer with removable channels or units"
        return f"nothing in this model can be removed: {why}"


@dataclass(eq=False, kw_only=True)
class NoBottleneck(ModelError):
    """A global pruning took from every layer about what it took from the network."""

    code: ClassVar[str] = "no_bottleneck"
    layers: list[str]
    threshold: float

    def __str__(self) -> str:
        return (
            f"no layer lost less than {self.threshold:g} of what was expected; least: "
            f"{', '.join(self.layers[:5])}; raise expand.threshold to widen these"
        )


@dataclass(eq=False, kw_only=True)
class NothingToWiden(ModelError):
    """No layer that should be widened can be, without changing what the model computes."""

    code: ClassVar[str] = "nothing_to_widen"
    refusals: list[str]

    def __str__(self) -> str:
        return f"no bottleneck of this model can be widened exactly: {'; '.join(self.refusals[:5])}"


class DataError(InputError):
    """The calibration or evaluation data."""


@dataclass(eq=False, kw_only=True)
class DataUnreadable(DataError):
    """The file is no data file of a supported format."""

    code: ClassVar[str] = "data_unreadable"
    reason: str

    def __str__(self) -> str:
        return f"unreadable data: {self.reason}"


@dataclass(eq=False, kw_only=True)
class DataTooLarge(DataError):
    """The arrays of a data file do not fit in this machine's memory."""

    code: ClassVar[str] = "data_too_large"
    file: str

    def __str__(self) -> str:
        return f"the arrays in {self.file!r} do not fit in memory; hand in fewer or smaller samples"


@dataclass(eq=False, kw_only=True)
class DataMismatch(DataError):
    """An array is missing or does not fit the model's input of that name."""

    code: ClassVar[str] = "data_mismatch"
    field: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"data array {self.field!r}: expected {self.expected}, got {self.got}"


@dataclass(eq=False, kw_only=True)
class DataEmpty(DataError):
    """An array has no samples."""

    code: ClassVar[str] = "data_empty"
    field: str

    def __str__(self) -> str:
        return f"data array {self.field!r} has no samples"


@dataclass(eq=False, kw_only=True)
class DataNotFinite(DataError):
    """An array holds NaN or infinite values."""

    code: ClassVar[str] = "data_not_finite"
    field: str
    count: int

    def __str__(self) -> str:
        return f"data array {self.field!r} holds {self.count} NaN or infinite value(s)"


@dataclass(eq=False, kw_only=True)
class RecipeInvalid(InputError):
    """A recipe field is unknown or its value is not allowed."""

    code: ClassVar[str] = "recipe_invalid"
    field: str
    reason: str

    def __str__(self) -> str:
        return f"recipe field {self.field!r}: {self.reason}"


@dataclass(eq=False, kw_only=True)
class TargetUnreachable(InputError):
    """The budget asks for less than the smallest allowed plan leaves."""

    code: ClassVar[str] = "target_unreachable"
    metric: str
    asked: int
    reachable: int

    def __str__(self) -> str:
        return (
            f"the budget of {self.asked:,} {self.metric} cannot be reached; "
            f"the smallest allowed plan leaves {self.reachable:,}"
        )


class CheckFailed(SospError):
    """A result did not prove itself; nothing is handed out."""


@dataclass(eq=False, kw_only=True)
class ConversionFailed(CheckFailed):
    """The torch network stops at a node that ONNX Runtime computes."""

    code: ClassVar[str] = "conversion_failed"
    reason: str
    node: str | None = None

    def __str__(self) -> str:
        where = f" at node {self.node!r}" if self.node else ""
        return f"the converted network fails{where}: {self.reason}"


@dataclass(eq=False, kw_only=True)
class Diverged(CheckFailed):
    """Two computations of one tensor disagree."""

    tensor: str
    error: float
    tolerance: float
    node: str | None = None

    def _compare(self, one: str, other: str) -> str:
        where = f" (node {self.node!r})" if self.node else ""
        return (
            f"{one} and {other} differ at tensor {self.tensor!r}{where}: "
            f"relative error {self.error:.2e}, allowed {self.tolerance:.0e}"
        )


class ConversionDiverged(Diverged):
    """The torch network does not compute what ONNX Runtime computes."""

    code: ClassVar[str] = "conversion_diverged"

    def __str__(self) -> str:
        return self._compare("the converted network", "ONNX Runtime")


class SurgeryDiverged(Diverged):
    """The slim model does not compute what the masked original computes."""

    code: ClassVar[str] = "surgery_diverged"

    def __str__(self) -> str:
        return self._compare("the slim model", "the masked original")


class WideningDiverged(Diverged):
    """The widened model does not compute what the original computes."""

    code: ClassVar[str] = "widening_diverged"

    def __str__(self) -> str:
        return self._compare("the widened model", "the original")


class WriteBackDiverged(Diverged):
    """The written model does not compute what the trained network computes."""

    code: ClassVar[str] = "write_back_diverged"

    def __str__(self) -> str:
        return self._compare("the written model", "the trained network")


@dataclass(eq=False, kw_only=True)
class NotDeterministic(CheckFailed):
    """Two passes over the same data disagree, so no curvature can be trusted."""

    code: ClassVar[str] = "not_deterministic"
    quantity: str
    difference: float

    def __str__(self) -> str:
        return f"two passes over the data give different {self.quantity} (relative {self.difference:.2e})"


@dataclass(eq=False, kw_only=True)
class OutputRejected(CheckFailed):
    """The slim model fails the ONNX checker or does not load in ONNX Runtime."""

    code: ClassVar[str] = "output_rejected"
    reason: str

    def __str__(self) -> str:
        return f"the slim model was rejected: {self.reason}"


@dataclass(eq=False, kw_only=True)
class TrainingDiverged(SospError):
    """Fine-tuning reached a loss that is NaN or infinite."""

    code: ClassVar[str] = "training_diverged"
    step: int

    def __str__(self) -> str:
        return f"fine-tuning diverged at step {self.step}; try a smaller finetune.lr"


class ResourceError(SospError):
    """The machine, not the input; a retry may help."""

    retryable: ClassVar[bool] = True


@dataclass(eq=False, kw_only=True)
class OutOfMemory(ResourceError):
    """Memory ran out on the named device."""

    code: ClassVar[str] = "out_of_memory"
    device: str

    def __str__(self) -> str:
        return f"out of memory on {self.device}; try smaller batch sizes"


@dataclass(eq=False, kw_only=True)
class Cancelled(SospError):
    """The user asked to stop."""

    code: ClassVar[str] = "cancelled"
    stage: str

    def __str__(self) -> str:
        return f"cancelled during {self.stage}"


def every_error(root: type[SospError] = SospError) -> Iterator[type[SospError]]:
    """Yield every class of the tree, ``root`` first."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)
