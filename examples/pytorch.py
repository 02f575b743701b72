"""PyTorch → ONNX → slim ONNX → ONNX Runtime, in one process and less than a minute.

python examples/pytorch.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import sosp_core
from service import recipes


def main(place: Path) -> None:
    """Train, export, compress, and judge the result by ONNX Runtime alone."""
    place.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    x = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    y = torch.tensor(digits.target)
    network = train(x[:1200], y[:1200])
    model = export(network, x[:2], place / "digits.onnx")
    data, test = place / "train.npz", place / "test.npz"
    np.savez(data, image=x[:1200].numpy(), labels=y[:1200].numpy())
    np.savez(test, image=x[1200:].numpy(), labels=y[1200:].numpy())
    recipe = recipes.build({"base": "quick", "finetune": {"epochs": 2}, "benchmark": {"max_time_s": 0.5}})
    outcome = sosp_core.compress(model, data, recipe, out_dir=place / "out", evaluation=test)
    for row in outcome.report.rows():
        sys.stdout.write("  ".join(row) + "\n")
    for path in (model, outcome.model):
        sys.stdout.write(f"{path.name}: {accuracy(path, x[1200:].numpy(), y[1200:].numpy()):.3f}\n")


def train(x: Tensor, y: Tensor) -> nn.Module:
    """A small convolutional network, about 97 % right."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(48 * 16, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(6):
        for batch in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    return network.eval()


def export(network: nn.Module, example: Tensor, path: Path) -> Path:
    """With a dynamic batch axis: fixed batches cost time and accuracy."""
    torch.onnx.export(
        *(network, (example,), path),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
    )
    return path


def accuracy(path: Path, x: np.ndarray, y: np.ndarray) -> float:
    """As a program that ships the model would see it."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"image": x})
    return float((scores.argmax(1) == y).mean())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo-out"))
