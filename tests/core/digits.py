"""Small networks on scikit-learn's handwritten digits, trained in seconds and exported to ONNX."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from sosp_core.config import BenchmarkConfig, Budget, FinetuneConfig, PruneConfig, Recipe
from tests.zoo import exporting

INPUT, OUTPUT = "image", "scores"


def recipe(**prune: object) -> Recipe:
    """Small in everything that costs time."""
    return Recipe(
        prune=PruneConfig(**{"rounds": 3, "samples": 96, "round_to": 1, **prune}),  # type: ignore[arg-type]
        finetune=FinetuneConfig(steps=8, batch_size=32, augment="none"),
        benchmark=BenchmarkConfig(batch_sizes=(1,), min_time_s=0.01, max_time_s=0.05),
    )


HALF_THE_PARAMETERS: dict[str, object] = {"budget": Budget(metric="params", keep=0.5)}  # type: ignore[arg-type]


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images ``[1797, 1, 8, 8]`` around zero, and their classes."""
    x, y = load_digits(return_X_y=True)
    return (x.reshape(-1, 1, 8, 8) / 8 - 1).astype(np.float32), y.astype(np.int64)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


@cache
def trained() -> nn.Module:
    """About 96 % right on samples it has not seen, after two seconds."""
    return fitted(network())


def fitted(model: nn.Module) -> nn.Module:
    """Trained in place on the first 1,200 samples."""
    x, y = (torch.as_tensor(a[:1200]) for a in digits())
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        for index in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
    return model.eval()


def exported(model: nn.Module, *, batch: int | None = None, output: str = OUTPUT) -> bytes:
    """The classic exporter's file, with BatchNormalization kept as nodes."""
    return exporting.classic(
        *(model, (torch.zeros(batch or 2, 1, 8, 8),)),
        training=torch.onnx.TrainingMode.EVAL,
        do_constant_folding=False,
        input_names=[INPUT],
        output_names=[output],
        dynamic_axes=None if batch else exporting.batches(INPUT, output),
    )


@cache
def digits_model() -> bytes:
    return exported(trained())


def save_digits(path: Path, *, first: int = 0, count: int = 400, labels: bool = True) -> Path:
    x, y = (a[first : first + count] for a in digits())
    np.savez(path, **({INPUT: x, "labels": y} if labels else {INPUT: x}))
    return path
