"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from sosp_core.convert.table import Compute, Operator, converters


@converters.register("Gemm", since=7, trainable=(0, 1, 2))
def gemm(op: Operator) -> Compute:
    """``y = alpha · A' B' + beta · C``; the prime is an optional transpose, C broadcasts to y."""
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    flip_a, flip_b = op.attribute("transA", 0), op.attribute("transB", 0)

    def compute(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        left, right = a.t() if flip_a else a, b.t() if flip_b else b
        if c is not None and left.is_floating_point():
            return torch.addmm(c, left, right, beta=beta, alpha=alpha)
        product = torch.mm(left, right)
        scaled = product if alpha == 1 else (alpha * product).to(product.dtype)
        return scaled if c is None else scaled + (c if beta == 1 else (beta * c).to(c.dtype))

    return compute


@converters.register("MatMul", since=1, trainable=(0, 1))
def matmul(op: Operator) -> Compute:
    """As in numpy: leading axes broadcast, a vector counts as row (left) or column (right)."""
    return torch.matmul


@converters.register("Einsum", since=12, trainable=(0, 1))
def einsum(op: Operator) -> Compute:
    """Einstein summation; the equation is written as numpy writes it."""
    equation = op.attribute("equation")

    def compute(*operands: Tensor) -> Tensor:
        return torch.einsum(equation, *operands)

    return compute


@converters.register("Det", since=11)
def det(op: Operator) -> Compute:
    """Determinants of a stack of square matrices."""
    return lambda x: torch.det(x)
