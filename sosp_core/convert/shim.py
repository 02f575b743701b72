"""Let onnx2torch be imported next to a torch whose torchvision build does not match.

onnx2torch imports torchvision. The torchvision wheel on PyPI is the CUDA build; beside a
CPU-only torch its import fails because two operator schemas are missing. Declaring them is
enough: NMS and RoIAlign kernels are never called here.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_libraries: list[Any] = []  # a Library withdraws its schemas when collected


def import_torchvision() -> None:
    """Import torchvision, declaring the operators it registers fakes for if they are missing."""
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
        return
    except (RuntimeError, ImportError):
        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    make: Any = torch.library.Library  # torch leaves it unannotated
    library = make("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    importlib.import_module("torchvision")
