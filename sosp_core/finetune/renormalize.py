"""Give a network whose BatchNormalization was folded away one to train with, and fold it back.

Deep networks without normalisation train at a fraction of the rate, or not at all. A
BatchNormalization whose scale and shift are the very statistics it removes is the identity in
inference; in training it is what the network was once trained with.

Behind a normalisation the length of a filter means nothing to the function and everything to the
training: a step turns a short filter far and a long one hardly. Folding left the lengths to chance
(0.1 to 5 in one ResNet-56, where training had made them all about 1), so filters begin with length 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.ir.view import constant

EPSILON = 1e-5
#: Convolutions whose output varies less than this hold nothing to normalise.
SMALLEST_VARIANCE = 1e-12
#: A filter shorter than this is nothing but rounding.
SHORTEST = 1e-6

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Renormalised:
    """A model with added normalisation.

    Attributes:
        model: Computes what the model it was made from does.
        added: Pairs (convolution, normalisation) by node name.
    """

    model: ir.Model
    added: tuple[tuple[str, str], ...] = ()

    def fold(self, trained: ir.Model) -> ir.Model:
        """The trained model without the added nodes, in place: their effect is in the weights."""
        nodes = {node.name: node for node in trained.graph}
        for conv, norm in self.added:
            _fold(trained.graph, nodes[conv], nodes[norm])
        return trained


def wants_normalisation(model: ir.Model) -> bool:
    """Whether the model has convolutions that could be normalised, and no normalisation at all."""
    if any("Normalization" in node.op_type for node in model.graph):
        return False
    return bool(_candidates(model.graph))


def renormalise(model: ir.Model, batches: Iterable[Sequence[Tensor]]) -> Renormalised:
    """Add a BatchNormalization behind each convolution that can take it up again.

    Args:
        model: Left as it is.
        batches: Inputs in graph order; they measure mean and variance of each channel.

    Cost: one forward pass over the batches.
    """
    convs = _candidates(model.graph)
    means, variances = _statistics(model, [_output(c).name or "" for c in convs], batches)
    copy = model.clone()
    nodes = {node.name: node for node in copy.graph}
    added = []
    for conv, mean, variance in zip(convs, means, variances, strict=True):
        if variance.min() > SMALLEST_VARIANCE:
            length = _unit(nodes[conv.name])
            name = _insert(copy.graph, nodes[conv.name], mean, variance, length)
            added.append((conv.name or "", name))
    return Renormalised(copy, tuple(added))


def _candidates(graph: ir.Graph) -> list[ir.Node]:
    """Convolutions with weights and a bias of their own, whose output is not the graph's."""

    def own(value: ir.Value | None) -> bool:
        return constant(value) is not None and value is not None and len(value.uses()) == 1

    return [
        node
        for node in graph
        if node.op_type == "Conv"
        and len(node.inputs) == 3
        and own(node.inputs[1])
        and own(node.inputs[2])
        and not _output(node).is_graph_output()
    ]


def _output(node: ir.Node) -> ir.Value:
    return node.outputs[0]


@torch.no_grad()
def _statistics(
    model: ir.Model, names: Sequence[str], batches: Iterable[Sequence[Tensor]]
) -> tuple[list[Vector], list[Vector]]:
    """Mean and variance over samples and positions, by channel, of each named tensor."""
    network: Network | None = None
    sums: list[Vector] = [np.zeros(0)] * len(names)
    squares: list[Vector] = [np.zeros(0)] * len(names)
    counts = np.zeros(len(names))
    for batch in batches:
        network = network or Network(model).to(batch[0].device)
        for i, tensor in enumerate(network.tensors(batch, names)):
            rows = tensor.double().transpose(0, 1).flatten(1)
            sums[i] = rows.sum(1).cpu().numpy() + (sums[i] if counts[i] else 0.0)
            squares[i] = rows.square().sum(1).cpu().numpy() + (squares[i] if counts[i] else 0.0)
            counts[i] += rows.shape[1]
    means = [s / n for s, n in zip(sums, counts, strict=True)]
    return means, [np.maximum(q / n - m**2, 0.0) for q, n, m in zip(squares, counts, means, strict=True)]


def _unit(conv: ir.Node) -> Vector:
    """Divide each filter, and its bias, by the filter's length; the lengths."""
    weight, bias = (_array(v) for v in conv.inputs[1:3])
    length: Vector = np.sqrt(np.square(weight).reshape(len(weight), -1).sum(axis=1))
    length[length < SHORTEST] = 1.0
    _set(conv.inputs[1], weight / length.reshape(-1, *[1] * (weight.ndim - 1)))
    _set(conv.inputs[2], bias / length)
    return length


def _insert(graph: ir.Graph, conv: ir.Node, mean: Vector, variance: Vector, length: Vector) -> str:
    """A normalisation behind ``conv`` that takes over the name of the tensor, and restores it.

    Args:
        graph: Of the convolution.
        conv: Its filters have been divided by ``length``.
        mean: Of the tensor as it was.
        variance: Likewise.
        length: By channel.
    """
    out = _output(conv)
    name, kind = f"{conv.name}/renormalised", out.dtype or ir.DataType.FLOAT
    divided = variance / length**2
    operands = {
        "scale": length * np.sqrt(divided + EPSILON),
        "shift": mean,
        "mean": mean / length,
        "variance": divided,
    }
    values = [_initializer(graph, f"{name}/{key}", array, kind) for key, array in operands.items()]
    norm = ir.node("BatchNormalization", [out, *values], {"epsilon": EPSILON}, name=name)
    normal = _output(norm)
    normal.shape, normal.type = out.shape, out.type
    graph.insert_after(conv, norm)
    for user, position in list(out.uses()):
        if user is not norm:
            user.replace_input_with(position, normal)
    out.name, normal.name = f"{out.name}/raw", out.name
    return name


def _initializer(graph: ir.Graph, name: str, array: Vector, kind: ir.DataType) -> ir.Value:
    tensor = ir.Tensor(array.astype(kind.numpy()), dtype=kind, name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(kind), const_value=tensor)
    graph.register_initializer(value)
    return value


def _fold(graph: ir.Graph, conv: ir.Node, norm: ir.Node) -> None:
    scale, shift, mean, variance = (_array(v) for v in norm.inputs[1:5])
    factor = scale / np.sqrt(variance + EPSILON)
    weight, bias = (_array(v) for v in conv.inputs[1:3])
    _set(conv.inputs[1], weight * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    _set(conv.inputs[2], (bias - mean) * factor + shift)
    raw, normal = _output(conv), _output(norm)
    for user, position in list(normal.uses()):
        user.replace_input_with(position, raw)
    raw.name, normal.name = normal.name, raw.name
    unused = [v.name for v in norm.inputs[1:5] if v is not None and v.name]
    graph.remove(norm, safe=True)
    for name in unused:
        del graph.initializers[name]


def _array(value: ir.Value | None) -> Vector:
    array = constant(value)
    if array is None:
        raise RuntimeError("a folded weight is not an initializer")
    return array.astype(np.float64)


def _set(value: ir.Value | None, array: Vector) -> None:
    if value is None or value.const_value is None:
        raise RuntimeError("a folded weight is not an initializer")
    kind = value.const_value.dtype
    value.const_value = ir.Tensor(array.astype(kind.numpy()), dtype=kind, name=value.name)
