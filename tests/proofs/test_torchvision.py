"""Every network of torchvision that fits: converted with parity, slimmed exactly. ``make proof``.

Random weights: what is proved is the way through a graph, not what the network can do.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sosp_core.config import Metric
from sosp_core.convert.check import require_same_function
from sosp_core.convert.network import Network
from sosp_core.convert.shim import import_torchvision
from sosp_core.cost.model import CostModel, measure
from sosp_core.errors import ModelInvalid, SurgeryDiverged, UnsupportedOps
from sosp_core.ir.load import load_model
from sosp_core.runtime.session import open_session
from sosp_core.select.greedy import smallest
from sosp_core.select.rules import Rules
from sosp_core.structures.gating import gate_model
from sosp_core.surgery.apply import slim
from sosp_core.surgery.branches import Branch, find_branches
from sosp_core.surgery.verify import outputs_of, require_close, require_loadable
from tests.zoo import exporting
from tests.zoo.built import Built, prepare, random_mask
from tests.zoo.exact import doubled, outputs_in_double
from tests.zoo.networks import trained

import_torchvision()
from torchvision import models  # noqa: E402 (its import may need the shim)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TOLERANCE = 1e-4
#: In float64 only the order of sums is left; random weights let it grow.
EXACT = 1e-9
#: Larger ones take minutes to export, and several times as much memory as their file.
MOST_PARAMETERS = 150_000_000
#: At least this share of the MACs can go.
REMOVABLE = 0.3


def names() -> list[str]:
    kinds = (models, models.segmentation, models.video)
    return [name for kind in kinds for name in models.list_models(module=kind)]


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network and one input, as small as it takes."""
    options: dict[str, Any] = {"weights": None}
    shape: tuple[int, ...] = (1, 3, 64, 64)
    if name.startswith("vit_"):
        size = 3 * 32 if name.endswith("_32") else 7 * 16  # whole patches
        options["image_size"], shape = size, (1, 3, size, size)
    elif name.startswith(("swin_", "maxvit_")):
        shape = (1, 3, 224, 224)
    elif name.startswith("inception_v3"):
        options |= {"init_weights": False}
        shape = (1, 3, 128, 128)
    elif name.startswith("googlenet"):
        options |= {"init_weights": False, "aux_logits": False}
    elif name.startswith(("alexnet", "vgg")):
        shape = (1, 3, 224, 224)  # the classic exporter pools adaptively by whole factors only
    elif name.startswith(("squeezenet", "densenet")):
        shape = (1, 3, 96, 96)
    elif name == "s3d" or name.startswith(("mvit_", "swin3d_")):
        shape = (1, 3, 16, 224, 224)
    elif name in ("r3d_18", "mc3_18", "r2plus1d_18"):
        shape = (1, 3, 8, 56, 56)
    elif name in models.list_models(module=models.segmentation):
        options["weights_backbone"] = None
    parameters = models.get_model_weights(name).DEFAULT.meta["num_params"]
    if parameters > MOST_PARAMETERS:
        pytest.skip(f"{parameters / 1e6:.0f} M parameters")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return settled(trained(models.get_model(name, **options)), x), x


def settled(module: nn.Module, x: torch.Tensor) -> nn.Module:
    """Give every batch normalisation the statistics of what reaches it.

    With others, or those of two inputs, the activations of a hundred random layers leave the range
    where float32 says anything.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        samples = max(4, min(32, 400_000 // x.numel()))
        with torch.no_grad():
            module(torch.randn((samples, *x.shape[1:]), generator=torch.Generator().manual_seed(2)))
    return module.eval()


class FirstOutput(nn.Module):
    """Segmentation networks answer with a dictionary."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return y["out"] if isinstance(y, dict) else y


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One of PyTorch's two, with the batch of the example or any."""

    dynamo: bool
    free: bool

    def __str__(self) -> str:
        return f"{'current' if self.dynamo else 'classic'}-{'free' if self.free else 'fixed'}"

    def file(self, module: nn.Module, x: torch.Tensor) -> bytes:
        x = torch.cat([x, x]) if self.free else x  # a batch of one would be taken for a constant
        if self.dynamo:
            free: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("N")},)} if self.free else {}
            return exporting.current(module, (x,), **free)
        free = {"dynamic_axes": exporting.batches("x")} if self.free else {}
        return exporting.classic(module, (x,), input_names=["x"], **free)


EXPORTERS = [Exporter(dynamo=dynamo, free=free) for dynamo in (False, True) for free in (False, True)]


def require_exact(built: Built, rounding: float, seed: int, gone: Iterable[Branch] = ()) -> None:
    alive = random_mask(built.structures, seed)
    for branch in gone:
        for number in (branch.group, *branch.falls):
            alive[built.structures.groups[number].members] = False
    cut = slim(built.model, built.structures, alive)
    require_loadable(cut, built.model)
    masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
    exact = outputs_in_double(masked, built.feeds)
    assert all(np.isfinite(y).all() for y in exact.values())
    # Constants in place of branches are stored: in float64, too, here.
    slimmed = outputs_in_double(slim(doubled(built.model), built.structures, alive), built.feeds)
    require_close(slimmed, exact, EXACT, SurgeryDiverged)
    expected = outputs_of(masked, built.feeds)
    require_close(outputs_of(cut, built.feeds), expected, max(TOLERANCE, rounding), SurgeryDiverged)


@pytest.mark.parametrize("exporter", EXPORTERS, ids=str)
@pytest.mark.parametrize("name", names())
def test_a_network_is_converted_and_slimmed_exactly(name: str, exporter: Exporter) -> None:
    module, x = made(name)
    content = exporter.file(FirstOutput(module), x)
    del module
    gc.collect()
    try:
        open_session(content, optimise=False)
    except ModelInvalid as error:
        pytest.skip(f"ONNX Runtime does not load what the exporter wrote: {error}")
    if name.startswith("mvit_") and not exporter.dynamo:
        with pytest.raises(UnsupportedOps, match="Loop"):
            Network(load_model(content))
        return
    built = prepare(content, samples=2)
    rounding = require_same_function(Network(built.model), built.model, built.feeds)
    cost = CostModel(built.structures, Metric.MACS)
    total = measure(built.structures, built.structures.all_alive())[Metric.MACS]
    removable = 1 - smallest(cost, built.structures.groups, Rules()) / total
    told = (
        f"{name}: {built.structures.count} structures, {removable:.0%} of {total / 1e6:.0f} M MACs removable"
    )
    sys.stdout.write(told + "".join(f"\n  {r}" for r in built.structures.refusals) + "\n")
    assert removable >= REMOVABLE
    require_exact(built, rounding, seed=0)
    started = time.perf_counter()
    branches = list(find_branches(built.model, built.structures, built.shapes).values())
    took = time.perf_counter() - started
    sys.stdout.write(f"  {len(branches)} groups may go altogether, found in {took:.1f} s\n")
    for some in (branches[::2], branches) if branches else ():
        require_exact(built, rounding, seed=1, gone=some)
