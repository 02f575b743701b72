"""How else a run ends without a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sosp_core.errors.base import SospError


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
class DeviceAbsent(ResourceError):
    """The device to compute on is not there."""

    code: ClassVar[str] = "device_absent"
    device: str

    def __str__(self) -> str:
        return f"{self.device!r} is not present on this machine"


@dataclass(eq=False, kw_only=True)
class DeviceLost(ResourceError):
    """A process that trained along on another device is gone."""

    code: ClassVar[str] = "device_lost"
    device: str
    reason: str

    def __str__(self) -> str:
        return f"the part of the training on {self.device} ended early: {self.reason}"


@dataclass(eq=False, kw_only=True)
class Cancelled(SospError):
    """The user asked to stop."""

    code: ClassVar[str] = "cancelled"
    stage: str

    def __str__(self) -> str:
        return f"cancelled during {self.stage}"
