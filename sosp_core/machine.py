"""What the numbers of a report were measured with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sosp_core.errors import RecipeInvalid

LIBRARIES = ("onnx", "onnxruntime", "onnx-ir", "onnx2torch", "torch", "numpy")


def pick_device(name: str | None) -> torch.device:
    """The device to compute on: the named one, else a GPU if there is one.

    Raises:
        RecipeInvalid: The named device does not exist here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeInvalid(
            field="device", reason=f"{name!r} is no device; use cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise RecipeInvalid(field="device", reason=f"{name!r} is not supported; use cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RecipeInvalid(field="device", reason=f"{name!r} is not present on this machine")
    return device


def library_versions() -> dict[str, str]:
    """Versions of what computes."""
    return {name: version(name) for name in LIBRARIES}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores this process may use, and the device of the training."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else "none"
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": accelerator,
        "system": platform.platform(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
