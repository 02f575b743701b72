from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sosp_core.curvature.hvp import gradient_and_hvp
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Task
from sosp_core.errors import NotDeterministic
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.saliency.sosp_h import sosp_h
from sosp_core.structures.gating import gate_model
from tests.core.saliency.scenes import (
    CLASSES,
    DISTILL,
    DISTILL_CLASSES,
    TARGETS,
    mask_space,
    samples,
    scene,
    without,
)
from tests.oracles.dense import (
    CONV,
    MLP,
    NETS,
    RESIDUAL,
    Dense,
    Net,
    Outputs,
    softmax_curvature,
    square_curvature,
)

# Both sides sum the same float64 terms in another order. Seen 1e-15; 1e-9 leaves room.
EXACT = {"rtol": 1e-9, "atol": 1e-12}

each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)


def supervised(task: Task, data: Dataset) -> Callable[[Outputs], Tensor]:
    labels = torch.as_tensor(data.labels)
    if task is CLASSES:
        return lambda y: -(y[0].log_softmax(1)[torch.arange(len(labels)), labels]).mean()
    return lambda y: (y[0] - labels).square().mean()


@each_net
@pytest.mark.parametrize("task", [CLASSES, TARGETS], ids=["cross_entropy", "mse"])
@pytest.mark.parametrize("removed", [(), (1, 4)], ids=["whole", "pruned"])
def test_scores_equal_the_published_formula_on_a_dense_hessian(
    net: Net, task: Task, removed: tuple[int, ...]
) -> None:
    built = net.build()
    data, alive = samples(built, task), without(net, *removed)
    prices = sosp_h(scene(built, mask_space(built, data, task)), alive)
    dense, loss = Dense(net, built, data), supervised(task, data)
    everything = torch.as_tensor(alive, dtype=torch.float64)  # θ_struc: all that is still there
    expected = dense.gradient(loss, alive).abs() + 0.5 * (dense.hessian(loss, alive) @ everything).abs()
    torch.testing.assert_close(torch.as_tensor(prices.scores), expected, **EXACT)


@each_net
@pytest.mark.parametrize(
    ("task", "curvature"),
    [(DISTILL_CLASSES, softmax_curvature), (DISTILL, square_curvature)],
    ids=["classes", "values"],
)
def test_without_labels_the_gradient_vanishes_and_the_hessian_is_gauss_newton(
    net: Net, task: Task, curvature: Callable[[Tensor], Tensor]
) -> None:
    built = net.build()
    data = samples(built, task)
    space = mask_space(built, data, task, batch_size=len(data))
    mask = space.mask(built.structures.all_alive())
    direction = torch.linspace(-1, 1, len(mask), dtype=torch.float64)
    gradient, product = gradient_and_hvp(space.loss, mask, direction, space.batches())
    dense = Dense(net, built, data)
    whole = without(net)
    units = torch.ones(3, dtype=torch.float64)
    if task is DISTILL:  # squared errors are in units of the variance of each of the original's features
        units = dense.outputs(dense.at(whole))[0].detach().var(0, unbiased=False)
    expected = dense.gauss_newton(lambda y: curvature(y) / units, whole) @ direction
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    torch.testing.assert_close(product, expected, **EXACT)


@each_net
def test_the_hessian_is_symmetric(net: Net) -> None:
    built = net.build()
    space = mask_space(built, samples(built, CLASSES), CLASSES)
    mask = space.mask(built.structures.all_alive())
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(len(mask), generator=generator, dtype=torch.float64) for _ in range(2))
    hu, hv = (gradient_and_hvp(space.loss, mask, d, space.batches())[1] for d in (u, v))
    assert float(u @ hv) == pytest.approx(float(v @ hu), rel=1e-9)


@each_net
@pytest.mark.parametrize("task", [CLASSES, TARGETS], ids=["cross_entropy", "mse"])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_the_split_into_batches_does_not_matter(net: Net, task: Task, batch_size: int) -> None:
    built = net.build()
    data, alive = samples(built, task), built.structures.all_alive()
    one = sosp_h(scene(built, mask_space(built, data, task, batch_size=3)), alive).scores
    other = sosp_h(scene(built, mask_space(built, data, task, batch_size=batch_size)), alive).scores
    np.testing.assert_allclose(other, one, rtol=1e-9)


def test_a_distillation_of_values_does_not_depend_on_batches_either() -> None:
    built = MLP.build()
    data, alive = samples(built, DISTILL), built.structures.all_alive()
    one, other = (
        sosp_h(scene(built, mask_space(built, data, DISTILL, batch_size=b)), alive).scores for b in (7, 2)
    )
    np.testing.assert_allclose(other, one, rtol=1e-9)


def test_a_zero_direction_gives_zero() -> None:
    built = RESIDUAL.build()
    space = mask_space(built, samples(built, CLASSES), CLASSES)
    mask = space.mask(built.structures.all_alive())
    gradient, product = gradient_and_hvp(space.loss, mask, torch.zeros_like(mask), space.batches())
    assert float(product.abs().max()) == 0.0
    assert float(gradient.abs().max()) > 0.0


def test_the_product_is_linear_in_its_direction() -> None:
    built = MLP.build()
    space = mask_space(built, samples(built, CLASSES), CLASSES)
    mask = space.mask(built.structures.all_alive())
    direction = torch.linspace(0, 1, len(mask), dtype=torch.float64)
    one, three = (gradient_and_hvp(space.loss, mask, k * direction, space.batches())[1] for k in (1.0, 3.0))
    torch.testing.assert_close(three, 3 * one, **EXACT)


def test_the_gradient_equals_central_differences() -> None:
    built = CONV.build()
    space = mask_space(built, samples(built, CLASSES), CLASSES)
    mask = space.mask(built.structures.all_alive())
    gradient, _ = gradient_and_hvp(space.loss, mask, mask, space.batches())

    def loss(at: Tensor) -> float:
        parts = [(n, float(space.loss(at, batch))) for n, batch in space.batches()]
        return sum(n * value for n, value in parts) / sum(n for n, _ in parts)

    # ε = 1e-5: truncation ε² ~ 1e-10 and rounding 1e-16 / ε ~ 1e-11 are both far below 1e-7.
    for s in range(len(mask)):
        step = torch.zeros_like(mask)
        step[s] = 1e-5
        slope = (loss(mask + step) - loss(mask - step)) / 2e-5
        assert float(gradient[s]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_a_loss_that_is_linear_has_no_curvature() -> None:
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    gradient, product = gradient_and_hvp(
        lambda m, batch: (m * weights).sum() * batch,
        torch.ones(3).double(),
        torch.ones(3).double(),
        [(2, 1.0)],
    )
    torch.testing.assert_close(gradient, weights)
    assert float(product.abs().max()) == 0.0


def test_a_loss_with_memory_is_refused() -> None:
    calls: list[int] = []

    def loss(mask: Tensor, batch: int) -> Tensor:
        calls.append(batch)
        return mask.square().sum() * (1 + 0.01 * len(calls))

    with pytest.raises(NotDeterministic) as caught:
        gradient_and_hvp(loss, torch.ones(2), torch.ones(2), [(1, 0)])
    assert caught.value.difference == pytest.approx(0.01 / 1.01)


def test_folded_normalisation_scores_the_same() -> None:
    built = CONV.build()
    data, alive = samples(built, CLASSES), built.structures.all_alive()
    plain = sosp_h(scene(built, mask_space(built, data, CLASSES)), alive).scores
    gated = gate_model(built.model, built.structures, built.shapes)
    nodes = len(list(gated.model.graph))
    fold_batchnorm(gated.model)
    assert len(list(gated.model.graph)) == nodes - 1
    folded = MaskSpace(*(gated, data, CLASSES), batch_size=3, device=torch.device("cpu"), dtype=torch.float64)
    # The fold happens in float32: 6e-8 for each weight, some digits more after the second derivative.
    np.testing.assert_allclose(sosp_h(scene(built, folded), alive).scores, plain, rtol=1e-4, atol=1e-7)


def test_float32_agrees_with_float64() -> None:
    built = MLP.build()
    data, alive = samples(built, CLASSES), built.structures.all_alive()
    double, single = (
        sosp_h(scene(built, mask_space(built, data, CLASSES, dtype=d)), alive).scores
        for d in (torch.float64, torch.float32)
    )
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-6)


def test_the_loss_of_a_mask_is_the_loss_of_the_masked_network() -> None:
    built = MLP.build()
    data = samples(built, CLASSES)
    space, dense = mask_space(built, data, CLASSES, batch_size=7), Dense(MLP, built, data)
    alive = without(MLP, 0, 3, 6)
    ((_, batch),) = space.batches()
    expected = F.cross_entropy(dense.outputs(dense.at(alive))[0], torch.as_tensor(data.labels)).detach()
    assert float(space.loss(space.mask(alive), batch)) == pytest.approx(expected.item(), rel=1e-12)
