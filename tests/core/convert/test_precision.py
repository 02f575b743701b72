"""Converters in other arithmetic than float32: under bfloat16 autocast, and cast to float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from onnx import TensorProto
from single_node import build, operator
from torch import Tensor, nn


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(s, generator=generator) for s in shapes]


IMAGE = (2, 4, 5, 6)
MIXED: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "Conv": ([IMAGE, (3, 4, 3, 3), (3,)], {"pads": [0, 1, 1, 1]}),
    "ConvTranspose": ([IMAGE, (4, 3, 3, 3), (3,)], {"strides": [2, 2]}),
    "Gemm": ([(3, 4), (4, 5), (5,)], {}),
    "MatMul": ([(3, 4), (4, 5)], {}),
    "Einsum": ([(3, 4), (4, 5)], {"equation": "ij,jk->ik"}),
    "Add": ([IMAGE, (4, 1, 1)], {}),
    "Max": ([IMAGE, (4, 1, 1)], {}),
    "Pow": ([IMAGE, ()], {}),
    "PRelu": ([IMAGE, (4, 1, 1)], {}),
    "Clip": ([IMAGE, ()], {}),
    "Concat": ([IMAGE, (2, 1, 5, 6)], {"axis": 1}),
    "InstanceNormalization": ([IMAGE, (4,), (4,)], {}),
    "GroupNormalization": ([IMAGE, (4,), (4,)], {"num_groups": 2}),
    "LayerNormalization": ([IMAGE, (6,), (6,)], {}),
    "AveragePool": ([IMAGE], {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "LRN": ([IMAGE], {"size": 3}),
    "Softmax": ([IMAGE], {}),
    "ReduceL2": ([IMAGE], {}),
    "LSTM": ([(3, 2, 4), (1, 8, 4), (1, 8, 2), (1, 16)], {}),
    "GRU": ([(3, 2, 4), (1, 6, 4), (1, 6, 2)], {}),
    "Attention": ([(1, 2, 3, 4)] * 3, {"is_causal": 1}),
}


@pytest.mark.parametrize("op_type", MIXED)
def test_bfloat16_activations_meet_float32_weights(op_type: str) -> None:
    shapes, attributes = MIXED[op_type]
    x, *weights = tensors(*shapes)
    if op_type == "Attention":  # its operands are all activations
        weights = [w.bfloat16() for w in weights]
    weights = [w.requires_grad_() for w in weights]
    compute = build(operator(op_type, [None] * len(shapes), opset=24, **attributes))
    expected = compute(x.abs(), *(w.float() for w in weights))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = compute(x.abs().bfloat16().requires_grad_(), *weights)
    assert isinstance(got, Tensor)
    assert isinstance(expected, Tensor)
    got.float().sum().backward()
    # bfloat16 has 8 bits; sums of up to 36 products of standard normal numbers.
    torch.testing.assert_close(got.float(), expected.float(), rtol=2**-5, atol=2**-4)


def test_batch_normalization_under_autocast() -> None:
    x, scale, bias, mean, var = tensors(IMAGE, (4,), (4,), (4,), (4,))
    compute = build(operator("BatchNormalization"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = compute(x.bfloat16(), scale, bias, mean, var.abs() + 0.5)
    expected = compute(x, scale, bias, mean, var.abs() + 0.5)
    torch.testing.assert_close(got.float(), expected, rtol=2**-5, atol=2**-5)


@pytest.mark.parametrize(
    ("op_type", "attributes", "inputs"),
    [
        ("Cast", {"to": TensorProto.FLOAT}, [torch.tensor([1, 2])]),
        ("Constant", {"value_floats": [1.0, 2.0]}, []),
        ("ConstantOfShape", {}, [torch.tensor([2, 3])]),
    ],
    ids=["Cast", "Constant", "ConstantOfShape"],
)
def test_what_makes_float32_makes_float64_in_a_network_cast_to_it(
    op_type: str, attributes: dict[str, Any], inputs: list[Tensor]
) -> None:
    compute = build(operator(op_type, **attributes))
    assert isinstance(compute, nn.Module)
    assert compute(*inputs).dtype == torch.float32
    assert compute.double()(*inputs).dtype == torch.float64


def test_casts_to_integers_stay() -> None:
    compute = build(operator("Cast", to=TensorProto.INT64))
    assert isinstance(compute, nn.Module)
    result = compute.double()(torch.tensor([-1.7, 1.7]))
    assert torch.equal(result, torch.tensor([-1, 1]))
