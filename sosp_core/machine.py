"""What the numbers of a report were measured with."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sosp_core.errors import DeviceAbsent, RecipeInvalid

LIBRARIES = ("onnx", "onnxruntime", "onnx-ir", "onnx2torch", "torch", "numpy")


def pick_devices(names: str | None) -> tuple[torch.device, ...]:
    """The devices to compute on: those named, else a GPU if there is one. The first does what one can do.

    Args:
        names: ``cpu``, ``cuda`` or ``cuda:N``, or several of one kind joined by commas: they train
            together. A GPU is named once; ``cpu,cpu`` are two processes.

    Raises:
        RecipeInvalid: A name is no device's, or they do not go together.
        DeviceAbsent: A named device does not exist here.
    """
    if names is None:
        return (torch.device("cuda" if torch.cuda.is_available() else "cpu"),)
    devices = tuple(_device(name.strip()) for name in names.split(","))
    if len({device.type for device in devices}) > 1:
        raise RecipeInvalid(field="device", reason=f"{names!r} are of two kinds; name either cpu or GPUs")
    if len(devices) == 1 or devices[0].type == "cpu":
        return devices
    gpus = [device.index or 0 for device in devices]
    if len(gpus) != len(set(gpus)):
        raise RecipeInvalid(field="device", reason=f"{names!r} names a GPU twice")
    return tuple(torch.device("cuda", number) for number in gpus)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeInvalid(
            field="device", reason=f"{name!r} is no device; use cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise RecipeInvalid(field="device", reason=f"{name!r} is not supported; use cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceAbsent(device=name)
    return device


def library_versions() -> dict[str, str]:
    """Versions of what computes."""
    return {name: version(name) for name in LIBRARIES}


def describe_machine(devices: Sequence[torch.device]) -> dict[str, Any]:
    """Processor, cores this process may use, and the GPUs of the training."""
    gpus = [torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": ", ".join(gpus) or "none",
        "system": platform.platform(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
