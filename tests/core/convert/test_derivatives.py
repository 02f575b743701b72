"""First and second derivatives in float64 against finite differences.

Curvature may take the second as backward over backward or as forward over backward: both are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from single_node import build, operator
from torch import Tensor

Shape = tuple[int, ...]
I64 = np.int64


@dataclass(frozen=True)
class Case:
    """A node: shapes of its float inputs, integer inputs that follow them, attributes.

    Attributes:
        values: Maps standard normal numbers into the operator's smooth domain.
    """

    op_type: str
    shapes: Sequence[Shape | None]
    integers: Sequence[list[int]] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 22
    domain: str = ""
    n_outputs: int = 1
    values: Callable[[Tensor], Tensor] = lambda x: x

    def inputs(self) -> tuple[Tensor | None, ...]:
        generator = torch.Generator().manual_seed(7)
        drawn = (
            None if s is None else self.values(torch.randn(s, generator=generator, dtype=torch.float64))
            for s in self.shapes
        )
        return tuple(None if x is None else x.requires_grad_() for x in drawn)

    def function(self) -> Callable[..., Any]:
        trailing = [np.array(v, dtype=I64) for v in self.integers]
        arrays = [None] * len(self.shapes) + trailing
        op = operator(
            self.op_type,
            arrays,
            opset=self.opset,
            domain=self.domain,
            n_outputs=self.n_outputs,
            **self.attributes,
        )
        compute, rest = build(op), [torch.from_numpy(v) for v in trailing]
        return lambda *floats: compute(*floats, *rest)

    def __str__(self) -> str:
        spelled = [f"{k}={v}" for k, v in self.attributes.items()]
        return "-".join([self.op_type, *spelled, *([] if self.opset == 22 else [str(self.opset)])])


def away_from_kinks(x: Tensor) -> Tensor:
    """Moved so that no element is within a finite-difference step of 0, ±1, …, nor equal to another."""
    return x.round(decimals=1) + 0.05 + torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape) * 1e-4


def positive(x: Tensor) -> Tensor:
    return x.abs() + 0.5


IMAGE: Shape = (2, 4, 3, 4)
CASES = [
    Case(
        "Conv", [IMAGE, (6, 2, 3, 3), (6,)], attributes={"group": 2, "pads": [1, 0, 1, 2], "strides": [2, 1]}
    ),
    Case("Conv", [(1, 2, 7), (3, 2, 3), (3,)], attributes={"auto_pad": "SAME_UPPER", "dilations": [2]}),
    Case("Conv", [(1, 2, 3, 4, 3), (2, 2, 2, 2, 2)]),
    Case("ConvTranspose", [(1, 4, 3, 3), (4, 3, 3, 3), (3,)], attributes={"strides": [2, 2]}),
    Case("ConvTranspose", [(1, 2, 4), (2, 3, 3), (3,)], attributes={"strides": [2], "pads": [0, 1]}),
    Case("Gemm", [(3, 4), (5, 4), (5,)], attributes={"transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("MatMul", [(2, 3, 4), (4, 5)]),
    Case("Einsum", [(2, 3, 4), (2, 4, 5)], attributes={"equation": "bij, bjk -> bki"}),
    Case("InstanceNormalization", [IMAGE, (4,), (4,)]),
    Case("LayerNormalization", [(3, 4, 5), (5,), (5,)]),
    Case("LayerNormalization", [(3, 4, 5), (4, 5)], attributes={"axis": -2}),
    Case("GroupNormalization", [IMAGE, (2,), (2,)], attributes={"num_groups": 2}, opset=18),
    Case("GroupNormalization", [IMAGE, (4,), (4,)], attributes={"num_groups": 2}),
    Case("RMSNormalization", [(3, 4), (4,)], opset=23),
    Case("LpNormalization", [(3, 4)]),
    Case("LRN", [IMAGE], attributes={"size": 4, "alpha": 0.3}),
    *[
        Case(op_type, [(3, 4)], values=away_from_kinks, opset=24)
        for op_type in (
            "Relu LeakyRelu Elu Celu Selu Sigmoid HardSigmoid HardSwish Swish Mish Softplus Softsign Tanh "
            "Erf Gelu Softmax LogSoftmax Abs Neg Exp Sin Cos Tan Atan Sinh Identity Flatten Transpose"
        ).split()
    ],
    Case("Gelu", [(3, 4)], attributes={"approximate": "tanh"}),
    Case("PRelu", [IMAGE, (4, 1, 1)], values=away_from_kinks),
    # A bilinear read has a kink wherever a place meets a pixel.
    Case(
        "DeformConv", [(1, 2, 3, 4), (2, 2, 2, 2), (1, 8, 2, 3), (2,), (1, 4, 2, 3)], values=away_from_kinks
    ),
    Case("Col2Im", [(1, 4, 4)], integers=[[3, 3], [2, 2]]),
    Case("CenterCropPad", [(3, 4)], integers=[[2, 5]]),
    Case(
        "Attention",
        [(1, 2, 2), (2, 6), (6,)],
        attributes={"num_heads": 2, "unidirectional": 1},
        domain="com.microsoft",
    ),
    Case(
        "MultiHeadAttention", [(1, 3, 4)] * 3 + [(12,)], attributes={"num_heads": 2}, domain="com.microsoft"
    ),
    Case("Clip", [(3, 4)], attributes={"min": -0.5, "max": 0.5}, opset=6, values=away_from_kinks),
    Case("Softmax", [(2, 3, 4)], opset=11),
    *[Case(op_type, [(2, 1, 3), (4, 1)], values=positive) for op_type in "Add Sub Mul Div Pow".split()],
    *[
        Case(op_type, [(3, 4), (3, 4), (4,)], values=away_from_kinks)
        for op_type in "Max Min Sum Mean".split()
    ],
    *[Case(op_type, [(3, 4)], values=positive) for op_type in "Sqrt Log Reciprocal".split()],
    Case("Concat", [(2, 3), (2, 1)], attributes={"axis": 1}),
    Case("Split", [(5, 2)], [[2, 3]], n_outputs=2),
    Case("Slice", [(5, 4)], [[-1, 0], [-6, 3], [0, 1], [-2, 1]]),
    *[Case("Pad", [(3, 4)], [[1, 2, 0, -1]], {"mode": mode}) for mode in ("constant", "reflect", "edge")],
    Case("Gather", [(5, 3)], [[0, -1, 2, 0]]),
    Case("Reshape", [(2, 6)], [[0, 3, -1]]),
    Case("Expand", [(2, 1)], [[3, 1, 4]]),
    Case("Tile", [(2, 3)], [[2, 1]]),
    Case("DepthToSpace", [(1, 4, 2, 2)], attributes={"blocksize": 2}),
    Case(
        "MaxPool", [IMAGE], attributes={"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}, values=away_from_kinks
    ),
    Case("MaxPool", [(1, 2, 7)], attributes={"kernel_shape": [3], "strides": [2]}, values=away_from_kinks),
    Case(
        "AveragePool", [IMAGE], attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    ),
    Case("AveragePool", [IMAGE], attributes={"kernel_shape": [2, 2], "strides": [2, 3], "ceil_mode": 1}),
    Case("AveragePool", [IMAGE], attributes={"kernel_shape": [2, 2], "dilations": [2, 1]}),
    Case("LpPool", [IMAGE], attributes={"kernel_shape": [2, 2]}, values=positive),
    Case("GlobalAveragePool", [IMAGE]),
    Case("GlobalMaxPool", [IMAGE], values=away_from_kinks),
    Case("GlobalLpPool", [IMAGE]),
    *[
        Case(op_type, [(3, 4)], [[1]], values=positive)
        for op_type in (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
            "ReduceSum ReduceSumSquare CumSum"
        ).split()
    ],
    *[
        Case("Upsample", [(1, 2, 3, 4)], attributes={"mode": mode, "scales": [1.0, 1.0, 2.0, 1.5]}, opset=7)
        for mode in ("nearest", "linear")
    ],
    Case("Attention", [(1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)], attributes={"is_causal": 1}, opset=24),
    Case(
        "Attention", [(1, 4, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2), (3, 3)], attributes={"softcap": 2.0}, opset=24
    ),
    Case(
        "LSTM",
        [(2, 1, 2), (2, 8, 2), (2, 8, 2), (2, 16)],
        attributes={"direction": "bidirectional"},
        n_outputs=3,
    ),
    Case(
        "GRU", [(2, 1, 2), (1, 6, 2), (1, 6, 2), (1, 12)], attributes={"linear_before_reset": 1}, n_outputs=2
    ),
    Case("RNN", [(2, 1, 2), (1, 2, 2), (1, 2, 2)], attributes={"direction": "reverse"}, n_outputs=2),
    Case("SkipLayerNormalization", [(2, 3, 4), (2, 3, 4), (4,), (4,), (4,)], domain="com.microsoft"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_agree_with_finite_differences(case: Case) -> None:
    function, inputs = case.function(), case.inputs()
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True)


def test_batch_normalization_in_eval_mode() -> None:
    compute = build(operator("BatchNormalization"))
    x, scale, bias = (
        torch.randn(s, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
        for s in (IMAGE, (4,), (4,))
    )
    mean, var = torch.linspace(-1, 1, 4, dtype=torch.float64), torch.linspace(0.5, 2, 4, dtype=torch.float64)

    def function(*weights: Tensor) -> Any:
        return compute(*weights, mean, var)

    assert torch.autograd.gradcheck(function, (x, scale, bias), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x, scale, bias), check_fwd_over_rev=True)


def test_norms_have_a_finite_gradient_at_zero() -> None:
    """Where a root of a sum of squares would give NaN, which one dead channel spreads to all weights."""
    for op in (operator("ReduceL2", opset=18), operator("GlobalLpPool"), operator("LpNormalization")):
        x = torch.zeros(1, 2, 3, requires_grad=True)
        result = build(op)(x)
        assert isinstance(result, Tensor)
        result.sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_a_query_that_sees_no_key_has_zero_gradient() -> None:
    compute = build(operator("Attention", opset=24))
    q, k, v = (torch.ones(1, 1, 2, 2, requires_grad=True) for _ in range(3))
    y = compute(q, k, v, torch.tensor([[False, False], [True, True]]))
    assert isinstance(y, Tensor)
    assert torch.equal(y[0, 0, 0], torch.zeros(2))
    y.sum().backward()
    assert q.grad is not None
    assert torch.equal(q.grad[0, 0, 0], torch.zeros(2))
