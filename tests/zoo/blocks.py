"""Small convolutional networks whose blocks split, group, or normalise in ways of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNextBlock(nn.Module):
    """Depthwise, then an expanding layer over channels last, scaled and added."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """A layer norm over channels first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNext(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 6, 4, 4), ChannelNorm(6), ConvNextBlock(6, 24), ChannelNorm(6)),
            *(nn.Conv2d(6, 8, 2, 2), ConvNextBlock(8, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *(nn.LayerNorm(8), nn.Linear(8, 4)),
        )


class ResNext(nn.Module):
    """A bottleneck whose middle is a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.reduce, self.grouped = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.expand, self.norm = nn.Conv2d(12, 8, 1), nn.BatchNorm2d(12)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.norm(self.grouped(F.relu(self.reduce(x)))))
        return self.head(F.relu(x + self.expand(y)).mean((2, 3)))


class GroupNormed(nn.Module):
    """As in diffusion networks: normalised by groups of channels, SiLU, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(6, 12), nn.GroupNorm(4, 16)])
        self.into, self.out = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)
        self.head = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.into(F.silu(self.norms[0](x)))
        return self.head(x + self.out(F.silu(self.norms[1](y))))


class Detector(nn.Module):
    """YOLO-like: parts of a split feed blocks and are joined; maps of two sizes give two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.SiLU())
        self.into, self.out = nn.Conv2d(6, 12, 1), nn.Conv2d(18, 8, 1)
        self.bottleneck = nn.Sequential(nn.Conv2d(6, 5, 3, 1, 1), nn.SiLU(), nn.Conv2d(5, 6, 3, 1, 1))
        self.down = nn.Sequential(nn.Conv2d(8, 10, 3, 2, 1), nn.SiLU())
        self.squeeze, self.widen = nn.Conv2d(10, 5, 1), nn.Conv2d(20, 10, 1)
        self.near = nn.Sequential(nn.Conv2d(18, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, 7, 1))
        self.far = nn.Sequential(nn.Conv2d(10, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, 7, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        parts = list(F.silu(self.into(x)).chunk(2, 1))
        parts.append(parts[1] + self.bottleneck(parts[1]))
        fine = F.silu(self.out(torch.cat(parts, 1)))
        coarse = self.down(fine)
        pooled = [F.silu(self.squeeze(coarse))]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        coarse = F.silu(self.widen(torch.cat(pooled, 1)))
        up = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        maps = self.near(torch.cat([up, fine], 1)), self.far(coarse)
        boxes, scores = torch.cat([m.flatten(2) for m in maps], 2).split((4, 3), 1)
        return torch.cat((boxes * 4.0, scores.sigmoid()), 1)


class Decoder(nn.Module):
    """A vector becomes an image of few channels and many pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 4 * 36)
        self.convs = nn.Sequential(
            *(nn.ConvTranspose2d(4, 5, 2, 2), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 3, padding=1))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.into(x))
        return torch.tanh(self.convs(x.view(x.shape[0], 4, 6, 6)))
