"""What scores cost, in units of an ordinary training gradient over the same images, and in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sosp_core.config import Metric
from sosp_core.convert.network import Network
from sosp_core.cost.model import CostModel
from sosp_core.curvature.hvp import gradient_and_hvp
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.select.greedy import shrink
from sosp_core.select.rules import Rules
from sosp_core.structures.gating import gate_model
from sosp_core.structures.prices import AbsolutePrices, QuadraticPrices
from sosp_core.structures.structures import Alive, Group
from tests.benchmarks import saliency_growth as growth
from tests.benchmarks.saliency_growth import seconds
from tests.core.digits import INPUT, digits, digits_model
from tests.core.select.test_greedy import made_of
from tests.zoo.built import Built, prepare

SHARED = Path(__file__).parents[2].parent / "shared"
MODEL, IMAGES = SHARED / "models" / "resnet56_cifar10.onnx", SHARED / "data" / "cifar10_small.npz"
#: Gradient and Hessian-vector product against one ordinary gradient: theory says about 3.
BOUND = 3.0
REPEATS, BATCH = 5, 32
TASK = Task(kinds=(Kind.LOGITS,), labelled=True)
MEAN, STD = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def digits_case() -> tuple[Built, Dataset]:
    x, y = (a[:256] for a in digits())
    return prepare(digits_model()), Dataset(inputs={INPUT: x}, labels=y)


def resnet_case() -> tuple[Built, Dataset]:
    if not (MODEL.exists() and IMAGES.exists()):
        pytest.skip(f"needs {MODEL.name} and {IMAGES.name} in ../shared, which are not part of the project")
    with np.load(IMAGES) as arrays:
        x, y = arrays["x_train"][:32], arrays["y_train"][:32]
    images = (x.transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / STD
    return prepare(MODEL.read_bytes()), Dataset(inputs={"input": images}, labels=y.astype(np.int64))


@pytest.mark.benchmark
@pytest.mark.parametrize("case", [digits_case, resnet_case], ids=["digits_cnn", "resnet56"])
def test_saliency_costs_at_most_three_training_gradients(
    case: Callable[[], tuple[Built, Dataset]], capsys: pytest.CaptureFixture[str]
) -> None:
    built, data = case()
    gated = gate_model(built.model, built.structures, built.shapes)
    fold_batchnorm(gated.model)
    space = MaskSpace(gated, data, TASK, batch_size=BATCH, device=torch.device("cpu"))
    mask = space.mask(built.structures.all_alive())
    network = Network(built.model).train()
    batches = [
        (torch.as_tensor(next(iter(b.inputs.values()))), torch.as_tensor(b.labels))
        for b in data.batches(BATCH)
    ]

    def saliency() -> None:
        gradient_and_hvp(space.loss, mask, mask, space.batches())

    def training() -> None:
        for x, y in batches:
            network.zero_grad(set_to_none=True)
            TASK.supervised(network(x), y).backward()

    saliency()
    training()
    # Turns, so that a busy machine slows both alike.
    ratios = [seconds(saliency) / seconds(training) for _ in range(REPEATS)]
    ratio = float(np.median(ratios))
    with capsys.disabled():
        told = f"{ratio:.2f} (of {REPEATS}: {min(ratios):.2f} to {max(ratios):.2f})"
        print(f"\nSOSP-H pass / training gradient, {built.structures.count} structures: {told}")  # noqa: T201
    assert ratio <= BOUND


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
def test_what_scores_cost_as_structures_and_samples_grow(capsys: pytest.CaptureFixture[str]) -> None:
    """Writes ``docs/raw/saliency_growth.json``; only memory is held to a goal."""
    torch.set_num_threads(1)
    rows = []
    for structures in growth.STRUCTURES:
        for samples in growth.SAMPLES:
            rows += growth.measured(structures, samples)
            with capsys.disabled():
                for row in rows[-len(growth.METHODS) :]:
                    print(f"\n{row}", end="")  # noqa: T201
    growth.save(rows)
    assert max(row.above for row in rows) <= growth.MOST_BYTES


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", [QuadraticPrices, AbsolutePrices])
def test_choosing_within_groups_costs_a_fraction(
    kind: type[QuadraticPrices] | type[AbsolutePrices], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first hundredth of a plan for 20,000 structures in 40 layers, in eights."""
    torch.set_num_threads(1)
    found = made_of([500] * 40, [float(i % 5 + 1) for i in range(40)])
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2_000, found.count), dtype=np.float32) / np.sqrt(2_000, dtype=np.float32)
    expansion = (0.1 * rng.standard_normal(found.count), np.ones(found.count), rows)
    cost, whole = CostModel(found, Metric.MACS), found.all_alive()
    target = round(0.99 * cost.total(cost.kept(whole)))
    rules = Rules(round_to=8, max_layer_ratio=0.9)

    def plan(groups: Sequence[Group]) -> Alive:
        return shrink(kind(*expansion, groups), whole, found.groups, cost, target, rules)

    assert np.array_equal(plan(found.groups), plan(()))
    grouped, alone = seconds(lambda: plan(found.groups)), seconds(lambda: plan(()))
    with capsys.disabled():
        told = f"{alone / grouped:.1f} ({alone:.1f} s, {grouped:.1f} s)"
        print(f"\n{kind.__name__}, correlations at every removal / once: {told}")  # noqa: T201
    assert alone > 2 * grouped
