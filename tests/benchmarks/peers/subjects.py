"""The networks that every tool prunes: two of ``../shared``, and one trained here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from tests.zoo import exporting

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
IMAGES = SHARED / "data" / "cifar10_small.npz"
#: The network trained here, kept so that a run that was cut short goes on with the same one.
TRAINED = ROOT / "build" / "benchmarks" / "vgg_cifar10.onnx"
MEAN, STD = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
VGG_EPOCHS, VGG_BATCH, VGG_RATE = 6, 64, 0.08


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network in the two forms that tools ask for.

    Attributes:
        content: The ONNX file.
        module: Builds the same network in torch, with the file's weights under their own names.
        streams: Nodes that make the residual streams. Both peers leave those as they are: neither
            follows channels through the slices and pads of these shortcuts.
        fixed: Names of modules whose outputs Torch-Pruning must not touch: the same streams, and
            the classifier.
        data: Files of training images, drawn by a seed, and of test images.
    """

    name: str
    content: bytes
    module: Callable[[], nn.Module]
    streams: tuple[str, ...]
    fixed: tuple[str, ...]
    data: Callable[[int, int, Path], tuple[Path, Path]]


class Shortcut(nn.Module):
    """Every other pixel, and zeros for the channels that are new (option A)."""

    def forward(self, x: Tensor) -> Tensor:
        quarter = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide_out)
        self.conv2 = nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide_out)
        self.shortcut = nn.Identity() if stride == 1 else Shortcut()

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """The residual network of the CIFAR files, with their names."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))

    @staticmethod
    def _stage(wide_in: int, wide_out: int, stride: int, blocks: int) -> nn.Sequential:
        first = Block(wide_in, wide_out, stride)
        return nn.Sequential(first, *(Block(wide_out, wide_out, 1) for _ in range(blocks - 1)))


def vgg() -> nn.Sequential:
    """Six convolutions in three sizes."""

    def layer(wide_in: int, wide_out: int) -> list[nn.Module]:
        conv = nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(wide_out), nn.ReLU()]

    return nn.Sequential(
        *(*layer(3, 32), *layer(32, 32), nn.MaxPool2d(2), *layer(32, 64), *layer(64, 64), nn.MaxPool2d(2)),
        *(*layer(64, 128), *layer(128, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )


def network(name: str) -> Network | None:
    """A network by name; None if its file is not there."""
    if name == "vgg_cifar10":
        classifier = str(len(vgg()) - 1)
        return _of_file(name, _trained_vgg(), vgg, (), (classifier,)) if IMAGES.exists() else None
    file = SHARED / "models" / f"{name}.onnx"
    return residual(name, file.read_bytes()) if file.exists() and IMAGES.exists() else None


def residual(name: str, content: bytes) -> Network:
    """One of the residual networks, with the weights of a file."""
    blocks = {"resnet20": 3, "resnet56": 9}[name.partition("_")[0]]
    inner = [f"layer{stage}.{i}.conv2" for stage in (1, 2, 3) for i in range(blocks)]
    return _of_file(
        *(name, content, lambda: ResNet(blocks)),
        streams=("/conv1/Conv", "*/conv2/Conv"),
        fixed=("conv1", *inner, "linear"),
    )


def _of_file(
    name: str,
    content: bytes,
    build: Callable[[], nn.Module],
    streams: tuple[str, ...],
    fixed: tuple[str, ...],
) -> Network:
    def module() -> nn.Module:
        weights = {w.name: numpy_helper.to_array(w) for w in onnx.load_from_string(content).graph.initializer}
        made = build()
        state = {n: torch.tensor(weights[n]) for n in made.state_dict() if n in weights}
        missing = made.load_state_dict(state, strict=False).missing_keys
        assert all(n.endswith("num_batches_tracked") for n in missing), missing
        return made.eval()

    return Network(name=name, content=content, module=module, streams=streams, fixed=fixed, data=data)


def arrays(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images as the networks take them, and labels, of ``train`` or ``test``."""
    with np.load(IMAGES) as z:
        images, labels = z[f"x_{part}"], z[f"y_{part}"].astype(np.int64)
    return prepared(images), labels


def prepared(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels ``[N, H, W, C]`` as the networks take them."""
    made: NDArray[np.float32] = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / STD
    return made


def data(seed: int, images: int, place: Path) -> tuple[Path, Path]:
    """Files of so many training images, drawn by the seed, and of all test images."""
    x, y = arrays("train")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:images])
    train, test = place / f"train-{seed}.npz", place / "test.npz"
    np.savez(train, input=x[drawn], labels=y[drawn])
    x, y = arrays("test")
    np.savez(test, input=x, labels=y)
    return train, test


def _trained_vgg() -> bytes:
    """The network trained on all 4,000 training images, flipped and shifted; BatchNorm is kept."""
    if TRAINED.exists():
        return TRAINED.read_bytes()
    torch.manual_seed(0)
    net, (x, y) = vgg(), (torch.as_tensor(a) for a in arrays("train"))
    optimizer = torch.optim.SGD(net.parameters(), VGG_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    total = VGG_EPOCHS * (len(x) // VGG_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, VGG_RATE, total_steps=total)
    for _ in range(VGG_EPOCHS):
        for batch in torch.randperm(len(x)).split(VGG_BATCH)[: len(x) // VGG_BATCH]:
            optimizer.zero_grad()
            F.cross_entropy(net(shaken(x[batch])), y[batch]).backward()
            optimizer.step()
            schedule.step()
    TRAINED.parent.mkdir(parents=True, exist_ok=True)
    TRAINED.write_bytes(export(net.eval()))
    return TRAINED.read_bytes()


def shaken(x: Tensor) -> Tensor:
    """Each image mirrored or not, the batch shifted by up to four pixels."""
    mirrored = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x, x.flip(3))
    down, right = (int(n) for n in torch.randint(0, 9, (2,)))
    return F.pad(mirrored, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]


def export(net: nn.Module) -> bytes:
    return exporting.classic(
        *(net, (torch.zeros(2, 3, 32, 32),)),
        training=torch.onnx.TrainingMode.PRESERVE,  # in any other, the exporter folds BatchNorm away
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes=exporting.batches("input", "logits"),
    )
