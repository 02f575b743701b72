"""The data and the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sosp_core.errors.base import InputError
from sosp_core.units import amount


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
    """The budget asks for less than the smallest allowed plan leaves.

    Attributes:
        metric: What is counted; latencies are ``units.NANOSECONDS``, and told in milliseconds.
        asked: At most so many.
        reachable: What the smallest allowed plan leaves.
    """

    code: ClassVar[str] = "target_unreachable"
    metric: str
    asked: int
    reachable: int

    def __str__(self) -> str:
        return (
            f"the budget of {amount(self.asked, self.metric)} cannot be reached; "
            f"the smallest allowed plan leaves {amount(self.reachable, self.metric)}"
        )
