"""PyTorch's two exporters, without what they print and warn of."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def current(module: nn.Module, args: Sequence[Tensor], **options: Any) -> bytes:
    """The file of the exporter that traces with ``torch.export``."""
    target = io.BytesIO()
    with _quiet():
        program = torch.onnx.export(module, tuple(args), dynamo=True, verbose=False, **options)
        assert program is not None
        program.save(target)
    return target.getvalue()


def classic(module: nn.Module, args: Sequence[Tensor], *, opset: int = 17, **options: Any) -> bytes:
    """The file of the exporter that traces with TorchScript."""
    target = io.BytesIO()
    with _quiet():
        torch.onnx.export(module, tuple(args), target, dynamo=False, opset_version=opset, **options)
    return target.getvalue()


def batches(*names: str) -> dict[str, dict[int, str]]:
    """Any number of samples, for the classic exporter."""
    return {name: {0: "N"} for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
