"""Results that did not prove themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sosp_core.errors.base import SospError


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
        told = self._compare("the converted network", "ONNX Runtime")
        return told if self.node else f"{told}; every node agrees by itself: rounding grows on the way"


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
    """The slim model fails the checker, does not load, or is NaN where the original is not."""

    code: ClassVar[str] = "output_rejected"
    reason: str

    def __str__(self) -> str:
        return f"the slim model was rejected: {self.reason}"
