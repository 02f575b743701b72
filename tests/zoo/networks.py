"""Small torch networks of well-known families, exported by both of PyTorch's exporters.

Widths are a few channels and images a few pixels: what counts is the graph that an exporter
writes for the family, not what the network can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import blocks, exporting, recurrent, transformers
from tests.zoo.built import Built, prepare

INPUT, OUTPUT = "images", "scores"
NORM, LAYER_NORM, CLASS_TOKEN = "over the channels", "it normalises over the channels", "one of its inputs"
IMAGES, TOKENS, STEPS = torch.zeros(2, 3, 16, 16), torch.zeros(2, 6, dtype=torch.int64), torch.zeros(2, 5, 3)


def conv_bn(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class Vgg(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(conv_bn(3, 6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), nn.ReLU(), nn.Dropout()),
            nn.Linear(10, 4),
        )


class Block(nn.Module):
    """A residual block whose shortcut pads (option A) or projects (option B)."""

    def __init__(self, c_in: int, c_out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(c_in, c_out, 3, stride), nn.ReLU(), conv_bn(c_out, c_out))
        self.project = conv_bn(c_in, c_out, 1, stride) if project else None
        self.stride, self.grow = stride, (c_out - c_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.project is not None:
            return F.relu(self.body(x) + self.project(x))
        short = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        short = F.pad(short, (0, 0, 0, 0, self.grow, self.grow)) if self.grow else short
        return F.relu(self.body(x) + short)


class ResNet(nn.Module):
    def __init__(self, project: bool) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4)
        self.blocks = nn.Sequential(Block(4, 4, 1, False), Block(4, 8, 2, project))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.blocks(F.relu(self.stem(x))), 1).flatten(1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, hidden: int, gate: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.excite(F.relu(self.squeeze(mean))))


class Inverted(nn.Module):
    """Expand, filter each channel, squeeze and excite, project back; residual where shapes allow."""

    def __init__(
        self, c_in: int, wide: int, c_out: int, stride: int, act: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(conv_bn(c_in, wide, 1), act, conv_bn(wide, wide, 3, stride, groups=wide), act),
            *(SqueezeExcite(wide, 3, gate), conv_bn(wide, c_out, 1)),
        )
        self.same = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4, 3, 2), nn.ReLU6())
        self.expand = nn.Sequential(conv_bn(4, 8, 1), nn.ReLU6(), conv_bn(8, 8, 3, 1, 8), nn.ReLU6())
        self.project = conv_bn(8, 4, 1)
        self.last = nn.Sequential(conv_bn(4, 6, 1), nn.ReLU6())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.expand(x))
        return self.head(self.last(x).mean([2, 3]))


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        *(conv_bn(3, 4, 3, 2), nn.Hardswish()),
        Inverted(4, 8, 4, 1, nn.Hardswish(), nn.Hardsigmoid()),
        Inverted(4, 6, 5, 2, nn.ReLU(), nn.Hardsigmoid()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6), nn.Hardswish(), nn.Linear(6, 4)),
    )


def efficientnet() -> nn.Module:
    return nn.Sequential(
        *(conv_bn(3, 4, 3, 2), nn.SiLU(), Inverted(4, 8, 4, 1, nn.SiLU(), nn.Sigmoid())),
        *(conv_bn(4, 6, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    )


class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 8), nn.ReLU())
        self.branch = nn.Sequential(
            *(conv_bn(4, 4, 1), nn.ReLU(), conv_bn(4, 4, groups=4), conv_bn(4, 4, 1), nn.ReLU())
        )
        self.last = nn.Conv2d(8, 5, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = self.stem(x).chunk(2, dim=1)
        x = torch.cat((kept, self.branch(worked)), dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.relu(self.last(x)).mean([2, 3]))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(4 + 3 * i, 3, 3, padding=1, bias=False) for i in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(13), nn.ReLU(), nn.Conv2d(13, 6, 1), nn.AvgPool2d(2))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)))))
        x = F.relu(self.transition(torch.cat(features, 1)))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 4), nn.ReLU())
        self.one = conv_bn(4, 3, 1)
        self.three = nn.Sequential(conv_bn(4, 3, 1), nn.ReLU(), conv_bn(3, 4))
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_bn(4, 2, 1))
        self.head = nn.Linear(13, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        short = F.max_pool2d(x, 3, 1, 1)
        x = F.relu(torch.cat([self.one(x), self.three(x), self.pool(x), short], 1))
        return self.head(x.mean((2, 3)))


class SqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.squeeze = nn.Conv2d(6, 3, 1)
        self.expand1, self.expand3 = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True)
        x = F.relu(self.squeeze(x))
        x = torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)
        return torch.flatten(F.adaptive_avg_pool2d(F.relu(self.last(x)), 1), 1)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = conv_bn(3, 4), conv_bn(4, 6)
        self.up1 = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.merge = conv_bn(9, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        up = self.up1(b) + F.interpolate(b, scale_factor=2.0, mode="nearest")[:, :5]
        return self.head(F.relu(self.merge(torch.cat([up, a], 1))))


class Transformer(nn.Module):
    """One block without normalisation over channels, so that everything inside can go."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, stride=4)
        self.qkv, self.out = nn.Linear(6, 24), nn.Linear(8, 6)
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        n, t, _ = x.shape
        q, k, v = (p.view(n, t, 2, 4).transpose(1, 2) for p in self.qkv(x).chunk(3, dim=-1))
        weights = torch.softmax(q @ k.transpose(-2, -1) * 0.5, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, 8))
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(1))


@dataclass(frozen=True, kw_only=True)
class Family:
    """A network family and what discovery must find in it.

    Attributes:
        groups: Sizes of the groups, smallest first.
        current: The same for the current exporter, where it differs.
        stays: What keeps its width: each is part of some refusal, and each refusal has one of them.
        opset: For the classic exporter; the current one has its own, unless ``current_opset`` says.
        sample: What the exporters trace with.
    """

    name: str
    make: Callable[[], nn.Module]
    groups: tuple[int, ...]
    current: tuple[int, ...] | None = None
    stays: tuple[str, ...] = ()
    opset: int = 17
    current_opset: int | None = None
    sample: Tensor = IMAGES


FAMILIES = (
    Family(name="vgg", make=Vgg, groups=(6, 8, 10), opset=9),
    Family(name="resnet_a", make=lambda: ResNet(project=False), groups=(4, 4, 4, 8), opset=11),
    Family(name="resnet_b", make=lambda: ResNet(project=True), groups=(4, 4, 8, 8), opset=13),
    Family(name="mobilenet_v2", make=MobileNetV2, groups=(4, 6, 8), opset=12),
    Family(name="mobilenet_v3", make=mobilenet_v3, groups=(3, 3, 4, 5, 6, 6, 8), opset=14),
    Family(name="efficientnet", make=efficientnet, groups=(3, 4, 6, 8)),
    Family(name="shufflenet_v2", make=ShuffleNetV2, groups=(4, 4, 4, 5), opset=15),
    Family(name="densenet", make=DenseNet, groups=(3, 3, 3, 4, 6), opset=16),
    Family(name="inception", make=Inception, groups=(2, 3, 3, 4, 4), opset=10),
    Family(name="squeezenet", make=SqueezeNet, groups=(3, 4, 4, 6), opset=11),
    Family(name="unet", make=UNet, groups=(1, 4, 4, 5)),
    Family(name="transformer", make=Transformer, groups=(2, 6, 10)),
    # Normalisation keeps the width of the residual stream; heads and hidden units go.
    Family(name="vit", make=transformers.Vit, groups=(3, 20), stays=(LAYER_NORM, CLASS_TOKEN)),
    Family(name="deit", make=transformers.Deit, groups=(3, 12, 12, 20), stays=(LAYER_NORM, CLASS_TOKEN)),
    Family(
        name="torch_encoder",
        make=transformers.TorchEncoder,
        groups=(2, 20),
        stays=(LAYER_NORM,),
        sample=TOKENS,
    ),
    Family(name="swin", make=transformers.Swin, groups=(2, 12, 20), stays=(NORM,), opset=16),
    Family(name="bert", make=transformers.Bert, groups=(3, 8, 20), stays=(NORM,), opset=14, sample=TOKENS),
    Family(name="gpt", make=transformers.Gpt, groups=(2, 20), stays=(LAYER_NORM,), sample=TOKENS),
    Family(name="t5", make=transformers.T5, groups=(3, 20), stays=(NORM,), opset=13, sample=TOKENS),
    Family(name="llama", make=transformers.Llama, groups=(2, 20), stays=(NORM,), sample=TOKENS),
    Family(
        name="scaled_dot", make=transformers.ScaledDot, groups=(3, 12), stays=(LAYER_NORM,), sample=TOKENS
    ),
    Family(
        name="attention_operator",
        make=transformers.ScaledDot,
        groups=(3, 12),
        stays=(LAYER_NORM,),
        current_opset=23,
        sample=TOKENS,
    ),
    Family(name="mixer", make=transformers.Mixer, groups=(10, 20), stays=(NORM, "whose width cannot change")),
    Family(name="convnext", make=blocks.ConvNext, groups=(24, 32), stays=(LAYER_NORM, "node_as_strided")),
    Family(name="resnext", make=blocks.ResNext, groups=(4, 4, 8), opset=12),
    Family(name="group_norm", make=blocks.GroupNormed, groups=(4, 6), opset=16),
    Family(name="detector", make=blocks.Detector, groups=(5, 5, 6, 6, 6, 6, 6, 8, 10, 10), opset=12),
    Family(name="decoder", make=blocks.Decoder, groups=(4, 5), opset=13, sample=torch.zeros(2, 6)),
    Family(name="tagger", make=recurrent.Tagger, groups=(5, 5, 6), opset=14, sample=TOKENS),
    Family(name="last_state", make=recurrent.LastState, groups=(6, 8), opset=11, sample=STEPS),
    Family(name="crnn", make=recurrent.Crnn, groups=(6, 6, 8), stays=("LogSoftmax",), opset=13),
    # The current exporter unrolls the layer; at the first step its shared weight meets stored zeros.
    Family(name="elman", make=recurrent.Elman, groups=(6,), current=(), stays=("is shared",), sample=STEPS),
)


@dataclass(frozen=True)
class Export:
    """One family through one exporter."""

    family: Family
    dynamo: bool

    @property
    def name(self) -> str:
        return f"{self.family.name}-{'current' if self.dynamo else 'classic'}"

    @property
    def groups(self) -> tuple[int, ...]:
        own = self.family.current
        return own if self.dynamo and own is not None else self.family.groups


EXPORTS = tuple(Export(family, dynamo) for family in FAMILIES for dynamo in (False, True))


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and statistic drawn anew: no two tensors are equal, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point() and tensor.ndim <= 1:
            tensor.copy_(
                torch.randn(tensor.shape, generator=generator) * 0.3 + (name.endswith("weight") * 1.0)
            )
        elif tensor.is_floating_point():
            fan_in = max(1, tensor[0].numel())
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return module.eval()


@cache
def export(which: Export) -> bytes:
    """The ONNX file, with a dynamic batch."""
    family = which.family
    module, names = trained(family.make()), {"input_names": [INPUT], "output_names": [OUTPUT]}
    if not which.dynamo:
        return exporting.classic(
            module,
            (family.sample,),
            opset=family.opset,
            dynamic_axes=exporting.batches(INPUT, OUTPUT),
            **names,
        )
    opset = {} if family.current_opset is None else {"opset_version": family.current_opset}
    free = ({0: torch.export.Dim("N")},)
    return exporting.current(module, (family.sample,), dynamic_shapes=free, **names, **opset)


@cache
def build_export(which: Export) -> Built:
    return prepare(export(which))
