"""BatchNormalization keeps state: in train mode it must move as ONNX defines."""

from __future__ import annotations

import pytest
import torch
from single_node import build, operator
from torch import Tensor

from sosp_core.convert.norm import BatchNormalization
from sosp_core.convert.table import Operator, Unconvertible

X = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
SCALE, BIAS = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.tensor([0.5, 3.0], dtype=torch.float64)


def running() -> tuple[Tensor, Tensor]:
    return torch.tensor([0.1, -0.2], dtype=torch.float64), torch.tensor([1.5, 0.7], dtype=torch.float64)


def module(**attributes: float) -> BatchNormalization:
    compute = build(operator("BatchNormalization", opset=15, **attributes))
    assert isinstance(compute, BatchNormalization)
    return compute


def test_eval_mode_uses_the_running_statistics_and_leaves_them() -> None:
    mean, var = running()
    y = module(epsilon=0.01)(X, SCALE, BIAS, mean, var)
    column = (1, 2, 1)
    before_mean, before_var = running()
    expected = (X - mean.view(column)) / (var.view(column) + 0.01).sqrt() * SCALE.view(column) + BIAS.view(
        column
    )
    torch.testing.assert_close(y, expected)
    assert torch.equal(mean, before_mean)
    assert torch.equal(var, before_var)


def test_train_mode_uses_the_batch_and_moves_the_running_statistics() -> None:
    mean, var = running()
    before_mean, before_var = running()
    y = module(momentum=0.8).train()(X, SCALE, BIAS, mean, var)
    torch.testing.assert_close(y.mean((0, 2)), BIAS)
    torch.testing.assert_close(mean, 0.8 * before_mean + 0.2 * X.mean((0, 2)))
    # Population variance: the mean of squares, not torch's sum / (n - 1).
    torch.testing.assert_close(var, 0.8 * before_var + 0.2 * X.var((0, 2), correction=0))


def test_train_mode_is_differentiable_after_the_move() -> None:
    x, scale = X.clone().requires_grad_(), SCALE.clone().requires_grad_()
    y = module().train()(x, scale, BIAS, *running())
    y.square().sum().backward()
    assert x.grad is not None
    assert scale.grad is not None
    assert x.grad.isfinite().all()


def test_a_node_in_training_mode_gives_the_moved_statistics_and_leaves_its_inputs() -> None:
    mean, var = running()
    compute = build(operator("BatchNormalization", opset=15, n_outputs=3, training_mode=1))
    _, moved_mean, moved_var = compute(X, SCALE, BIAS, mean, var)
    torch.testing.assert_close(moved_mean, 0.9 * mean + 0.1 * X.mean((0, 2)))
    torch.testing.assert_close(moved_var, 0.9 * var + 0.1 * X.var((0, 2), correction=0))
    assert torch.equal(mean, running()[0])


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (operator("BatchNormalization", opset=7, spatial=0), "spatial=0"),
        (operator("BatchNormalization", opset=9, n_outputs=5), "statistics as outputs"),
    ],
    ids=["per_element", "training_outputs_of_old_opsets"],
)
def test_what_has_no_counterpart_is_refused(op: Operator, reason: str) -> None:
    with pytest.raises(Unconvertible, match=reason):
        build(op)
