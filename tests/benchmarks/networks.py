"""Networks for trying recipes: trained within a minute on the digits that scikit-learn ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.zoo import exporting

TRAINED_ON = 1200


def images(side: int) -> tuple[Tensor, Tensor]:
    """All digits, shuffled, enlarged to ``side``."""
    digits = load_digits()
    x = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32)[:, None]
    if side != 8:
        x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order], torch.tensor(digits.target)[order]


def convolutional() -> nn.Module:
    def block(wide_in: int, wide_out: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(wide_out), nn.ReLU()]

    return nn.Sequential(
        *(*block(1, 32, 1), *block(32, 64, 2), *block(64, 64, 1), *block(64, 128, 2), *block(128, 128, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )


class Vit(nn.Module):
    """Sixteen patches of a digit, three blocks of torch's own encoder, the mean of the tokens."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.positions = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            *(width, heads, 4 * width, 0.0), batch_first=True, activation="gelu", norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.blocks(tokens).mean(1))


@cache
def trained(kind: str) -> tuple[nn.Module, int]:
    """A network and the side of its images."""
    torch.manual_seed(0)
    network, side, rate, epochs = (convolutional(), 16, 3e-3, 6) if kind == "cnn" else (Vit(), 8, 2e-3, 20)
    x, y = (t[:TRAINED_ON] for t in images(side))
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * (TRAINED_ON // 50))
    for _ in range(epochs):
        for batch in torch.randperm(TRAINED_ON).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return network.eval(), side


def files(kind: str, place: Path) -> tuple[Path, Path, Path]:
    """Model, calibration data and test data of a network."""
    network, side = trained(kind)
    x, y = images(side)
    file = exporting.classic(
        *(network, (x[:2],)),
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes=exporting.batches("image", "scores"),
    )
    model, data, test = place / f"{kind}.onnx", place / "data.npz", place / "test.npz"
    model.write_bytes(file)
    np.savez(data, image=x[:TRAINED_ON].numpy(), labels=y[:TRAINED_ON].numpy())
    np.savez(test, image=x[TRAINED_ON:].numpy(), labels=y[TRAINED_ON:].numpy())
    return model, data, test
