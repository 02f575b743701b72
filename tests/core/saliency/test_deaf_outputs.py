"""Outputs that hear no gate, as those of a branch that is protected, have no say in any score."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sosp_core.curvature.hvp import gradient_and_hvp
from sosp_core.data.task import Kind, Task
from sosp_core.saliency.rows import gradient_and_root
from tests.core.saliency.scenes import mask_space, samples
from tests.zoo.built import Built, prepare
from tests.zoo.graphs import Graph, content_of

BRANCHES = Graph(
    name="two_branches",
    groups=(4, 3),
    text="""(float[N,3,8,8] x) => (float[N,2,8,8] y, float[N,2,8,8] z)
    <float[4,3,1,1] w0, float[2,4,1,1] w1, float[3,3,1,1] w2, float[2,3,1,1] w3>
    { p = Conv(x, w0)  r = Relu(p)  y = Conv(r, w1)
      q = Conv(x, w2)  s = Relu(q)  z = Conv(s, w3) }""",
)
VALUES = Task(kinds=(Kind.VALUES, Kind.VALUES), labelled=False)


def built(*protect: str) -> Built:
    return prepare(content_of(BRANCHES), protect=protect)


@pytest.mark.parametrize(("protected", "left"), [("Conv_0", 3), ("Conv_3", 4)])
def test_scores_are_those_of_the_branch_that_hears(protected: str, left: int) -> None:
    whole, part = built(), built(protected)
    assert part.structures.count == left
    spaces = [mask_space(b, samples(b, VALUES), VALUES) for b in (whole, part)]
    roots = [
        gradient_and_root(s, b.structures.all_alive(), 0).rows
        for s, b in zip(spaces, (whole, part), strict=True)
    ]
    both, one = (np.square(r, dtype=np.float64).sum(axis=0) for r in roots)
    np.testing.assert_allclose(one, both[:4] if left == 4 else both[4:], rtol=1e-5)


def test_a_loss_that_hears_nothing_is_flat() -> None:
    point = torch.ones(3, dtype=torch.float64)
    flat = torch.tensor(2.0, dtype=torch.float64)
    gradient, product = gradient_and_hvp(lambda at, batch: flat, point, point, [(2, None)])
    assert not gradient.any()
    assert not product.any()
