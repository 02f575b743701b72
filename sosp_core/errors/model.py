"""The model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sosp_core.errors.base import InputError


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
        if not self.layers:
            return "no layer without limits was expected to lose anything; lower the budget to compare them"
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
