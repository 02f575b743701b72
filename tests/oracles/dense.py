"""Derivatives in weight space, dense and in float64: what mask space has to agree with.

A structure's weights are taken to be the slices by which later layers read it. Scaling those
slices by m_s is scaling the feature map by m_s, so both spaces speak of the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from tests.zoo.built import Built, prepare
from tests.zoo.graphs import as_model

Outputs = Sequence[Tensor]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A weight whose ``axis`` reads structures ``first`` onwards, ``repeat`` indices for each."""

    weight: str
    axis: int
    first: int
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class Net:
    """A smooth network; structures are numbered in graph order.

    Attributes:
        readers: Every weight that sums over structures, worked out by hand.
    """

    name: str
    text: str
    structures: int
    readers: tuple[Reader, ...]

    def build(self) -> Built:
        built = prepare(as_model(self.text, 17).SerializeToString())
        assert built.structures.count == self.structures
        return built


MLP = Net(
    name="mlp",
    structures=9,
    readers=(Reader(weight="w2", axis=0, first=0), Reader(weight="w3", axis=1, first=5)),
    text="""(float[N,4] x) => (float[N,3] y)
    <float[4,5] w1, float[5] b1, float[5,4] w2, float[4] b2, float[3,4] w3, float[3] b3>
    { a = MatMul(x, w1)  c = Add(a, b1)  t = Tanh(c)  d = Gemm(t, w2, b2)  s = Softplus(d)
      y = Gemm<transB=1>(s, w3, b3) }""",
)
CONV = Net(
    name="conv_with_normalisation",
    structures=7,
    # Flattening gives every channel 3 x 3 columns of the last weight.
    readers=(Reader(weight="w2", axis=1, first=0), Reader(weight="w3", axis=0, first=4, repeat=9)),
    text="""(float[N,2,5,5] x) => (float[N,3] y)
    <float[4,2,3,3] w1, float[4] g, float[4] b, float[4] m, float[4] var, float[3,4,1,1] w2, float[3] b2,
     float[27,3] w3>
    { p = Conv(x, w1)  n = BatchNormalization(p, g, b, m, var)  t = Tanh(n)  c = Conv(t, w2, b2)
      s = Sigmoid(c)  f = Flatten(s)  y = Gemm(f, w3) }""",
)
RESIDUAL = Net(
    name="residual",
    structures=6,
    # The stem's channels and the block's end are one: the block and the head both read them.
    readers=(
        Reader(weight="w1", axis=0, first=0),
        Reader(weight="w2", axis=0, first=3),
        Reader(weight="w3", axis=0, first=0),
    ),
    text="""(float[N,4] x) => (float[N,3] y)
    <float[4,3] w0, float[3] b0, float[3,3] w1, float[3] b1, float[3,3] w2, float[3,3] w3>
    { q = Gemm(x, w0, b0)  p = Tanh(q)  a = Gemm(p, w1, b1)  t = Softplus(a)  b = MatMul(t, w2)  s = Add(p, b)
      y = MatMul(s, w3) }""",
)
MANY_OUTPUTS = Net(
    name="many_outputs",
    structures=4,
    readers=(Reader(weight="w2", axis=0, first=0),),
    text="""(float[N,3] x) => (float[N,40] y) <float[3,4] w1, float[4,40] w2>
    { a = MatMul(x, w1)  t = Tanh(a)  y = MatMul(t, w2) }""",
)
NETS = (MLP, CONV, RESIDUAL)


class Dense:
    """A network as a function of the flat vector of its readers' weights."""

    def __init__(self, net: Net, built: Built, data: Dataset) -> None:
        self._network = Network(built.model).double().eval()
        self._inputs = [torch.as_tensor(data.inputs[n]).double() for n in self._network.input_names]
        names = dict.fromkeys(reader.weight for reader in net.readers)
        self._attributes = [self._network.attribute_of[name] for name in names]
        self._weights = [getattr(self._network, a).detach() for a in self._attributes]
        self.theta = self._structures(net, list(names))

    def _structures(self, net: Net, names: list[str]) -> Tensor:
        """``θ_s``: one row a structure, its slices in place and zeros elsewhere."""
        rows = []
        for s in range(net.structures):
            parts = [torch.zeros_like(w) for w in self._weights]
            for reader in net.readers:
                which = names.index(reader.weight)
                width = self._weights[which].shape[reader.axis]
                owner = torch.arange(width) // reader.repeat + reader.first
                index = torch.nonzero(owner == s).flatten()
                parts[which].index_copy_(
                    reader.axis, index, self._weights[which].index_select(reader.axis, index)
                )
            rows.append(torch.cat([p.flatten() for p in parts]))
        return torch.stack(rows)

    def at(self, alive: np.ndarray) -> Tensor:
        """The weights without the slices of removed structures."""
        whole = torch.cat([w.flatten() for w in self._weights])
        return whole - self.theta[torch.as_tensor(~alive)].sum(0)

    def outputs(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs for all samples."""
        sizes = [w.numel() for w in self._weights]
        parts = [p.view_as(w) for p, w in zip(flat.split(sizes), self._weights, strict=True)]
        values = dict(zip(self._attributes, parts, strict=True))
        result: tuple[Tensor, ...] = functional_call(self._network, values, tuple(self._inputs))
        return result

    def gradient(self, loss: Callable[[Outputs], Tensor], alive: np.ndarray) -> Tensor:
        """``θ_sᵀ ∇L [S]``."""
        flat = self.at(alive).requires_grad_()
        (g,) = torch.autograd.grad(loss(self.outputs(flat)), flat)
        return self.theta @ g

    def hessian(self, loss: Callable[[Outputs], Tensor], alive: np.ndarray) -> Tensor:
        """``θ_sᵀ ∇²L θ_t [S, S]`` from the dense Hessian over all readers' weights."""
        dense = torch.autograd.functional.hessian(lambda w: loss(self.outputs(w)), self.at(alive))
        return self.theta @ dense @ self.theta.T

    def gauss_newton(self, curvature: Callable[[Tensor], Tensor], alive: np.ndarray) -> Tensor:
        """``1/N Σ_n θᵀ J_nᵀ R_n J_n θ [S, S]`` with ``R_n [D, D]`` given by ``curvature(y_n)``."""
        flat = self.at(alive)
        jacobian = torch.autograd.functional.jacobian(lambda w: self.outputs(w)[0], flat)
        projected = jacobian.flatten(1, -2) @ self.theta.T  # [N, D, S]
        y = self.outputs(flat)[0].detach().flatten(1)
        return torch.stack([j.T @ curvature(out) @ j for j, out in zip(projected, y, strict=True)]).mean(0)


def softmax_curvature(y: Tensor) -> Tensor:
    """The Hessian of cross-entropy with respect to the scores ``y [D]``: ``diag(p) − p pᵀ``."""
    p = y.softmax(0)
    return torch.diag(p) - torch.outer(p, p)


def square_curvature(y: Tensor) -> Tensor:
    """The Hessian of a mean squared error: ``2 / D`` times the identity."""
    return torch.eye(len(y), dtype=y.dtype) * 2 / len(y)


def signed_rise(gradient: Tensor, curvature: Tensor, removed: Sequence[int]) -> float:
    """``−Σ_M g + ½ Σ_MM G``: what removing the set is estimated to cost."""
    chosen = list(removed)
    return float(-gradient[chosen].sum() + 0.5 * curvature[chosen][:, chosen].sum())


def absolute_rise(gradient: Tensor, curvature: Tensor, removed: Sequence[int]) -> float:
    """``Σ_M |g| + ½ Σ_MM |G|``: the bound that SOSP-I lowers."""
    chosen = list(removed)
    return float(gradient[chosen].abs().sum() + 0.5 * curvature[chosen][:, chosen].abs().sum())
