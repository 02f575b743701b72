from __future__ import annotations

import numpy as np
import pytest
import torch

from sosp_core.data.dataset import Dataset
from sosp_core.errors import RecipeInvalid
from sosp_core.saliency.diagonals import fisher, obd, taylor
from tests.core.saliency.scenes import CLASSES, DISTILL_CLASSES, mask_space, samples, scene, without
from tests.core.saliency.test_sosp_h import supervised
from tests.oracles.dense import NETS, Dense, Net, softmax_curvature

# Rows are kept in float32.
SINGLE = {"rtol": 1e-5, "atol": 1e-7}
each_net = pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
each_mask = pytest.mark.parametrize("removed", [(), (1, 4)], ids=["whole", "pruned"])


@each_net
@each_mask
def test_taylor_is_the_size_of_the_gradient(net: Net, removed: tuple[int, ...]) -> None:
    built, alive = net.build(), without(net, *removed)
    data = samples(built, CLASSES)
    scores = taylor(scene(built, mask_space(built, data, CLASSES)), alive).scores
    expected = Dense(net, built, data).gradient(supervised(CLASSES, data), alive).abs()
    np.testing.assert_allclose(scores[alive], expected.numpy()[alive], **SINGLE)


@each_net
@each_mask
def test_obd_is_half_the_diagonal_of_the_curvature(net: Net, removed: tuple[int, ...]) -> None:
    built, alive = net.build(), without(net, *removed)
    data = samples(built, CLASSES)
    scores = obd(scene(built, mask_space(built, data, CLASSES)), alive).scores
    expected = 0.5 * torch.diag(Dense(net, built, data).gauss_newton(softmax_curvature, alive))
    np.testing.assert_allclose(scores[alive], expected.numpy()[alive], **SINGLE)


@each_net
@pytest.mark.parametrize("apart", [False, True], ids=["gates for each sample", "one sample at a time"])
def test_fisher_is_half_the_mean_square_of_each_samples_gradient(net: Net, apart: bool) -> None:
    built, alive = net.build(), without(net)
    data = samples(built, CLASSES)
    space = mask_space(built, data, CLASSES)
    space.per_sample = space.per_sample and not apart
    each = []
    for i in range(len(data)):
        one: Dataset = data.take(np.array([i]))
        each.append(Dense(net, built, one).gradient(supervised(CLASSES, one), alive).numpy())
    expected = 0.5 * np.square(each).mean(axis=0)
    np.testing.assert_allclose(fisher(scene(built, space), alive).scores, expected, **SINGLE)


@pytest.mark.parametrize("method", [taylor, fisher])
def test_what_looks_at_the_gradient_says_that_it_needs_labels(method) -> None:
    net = NETS[0]
    built = net.build()
    space = mask_space(built, samples(built, DISTILL_CLASSES), DISTILL_CLASSES)
    with pytest.raises(RecipeInvalid, match="without labels"):
        method(scene(built, space), without(net))
