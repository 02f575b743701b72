"""Costs of an ONNX file counted from what is in it, without any notion of structure."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})


def weights(model: onnx.ModelProto) -> int:
    """Elements of all float initializers."""
    return sum(prod(t.dims) for t in model.graph.initializer if t.data_type in FLOATS)


def stored_bytes(model: onnx.ModelProto, names: set[str]) -> int:
    """Bytes of the named initializers."""
    return sum(numpy_helper.to_array(t).nbytes for t in model.graph.initializer if t.name in names)


def shapes_in(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a node makes, is fed, or is stored."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {o.name for o in probe.graph.output}
    made = [name for node in probe.graph.node for name in node.output if name]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    found = {name: np.shape(t) for name, t in zip(names, session.run(names, feeds), strict=True)}
    found |= {name: array.shape for name, array in feeds.items()}
    return found | {t.name: tuple(t.dims) for t in model.graph.initializer}


def _attention(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Each query of each head with each key, and each weight with each value."""
    told = {a.name: a.i for a in node.attribute}
    heads = told.get("q_num_heads") or told.get("num_heads") or 0
    if node.op_type == "GroupQueryAttention" and not node.input[1]:  # all three side by side
        b, n, width = shapes[node.input[0]]
        size = width // (heads + 2 * told["kv_num_heads"])
        return b * n * n * heads * 2 * size
    q, k, v = (shapes[name] for name in node.input[:3])
    if node.op_type == "Attention" and node.domain:  # x, weight, bias: the projection is its own
        widths = [list(a.ints) for a in node.attribute if a.name == "qkv_hidden_sizes"]
        queries, _, values = widths[0] if widths else [k[1] // 3] * 3
        past = shapes[node.input[4]][3] if len(node.input) > 4 and node.input[4] else 0
        return prod(q) * k[1] + q[0] * q[1] * (q[1] + past) * (queries + values)
    if len(q) == 4:
        return prod(q[:3]) * k[2] * (q[3] + v[3])
    of_values = v[3] if len(v) == 4 else v[2] // told.get("kv_num_heads", heads)
    return q[0] * q[1] * k[-2] * (q[2] + heads * of_values)


def _summed(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Sizes of the letters of an Einsum that its result does not have."""
    given, _, result = node.attribute[0].s.decode().replace(" ", "").partition("->")
    size: dict[str, int] = {}
    for term, name in zip(given.split(","), node.input, strict=True):
        head, _, tail = term.partition("...")
        size |= dict(zip(head, shapes[name], strict=False))
        size |= dict(zip(reversed(tail), reversed(shapes[name]), strict=False))
    return prod(n for letter, n in size.items() if letter not in result)


def multiply_accumulates(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> float:
    """Of convolutions and matrix products, for one sample: outputs times what each sums over."""
    shapes = shapes_in(model, feeds)
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "FusedConv"):  # weight [out, in / group, ...]
            total += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type == "ConvTranspose":  # each input pixel meets the weights of its channel
            total += prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "FusedMatMul"):
            across = next((a.i for a in node.attribute if a.name == "transA"), 0)
            total += prod(shapes[node.output[0]]) * shapes[node.input[0]][-2 if across else -1]
        elif node.op_type in ("Gemm", "FusedGemm"):
            across = next((a.i for a in node.attribute if a.name == "transA"), 0)
            total += prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if across else 1]
        elif node.op_type in ("LSTM", "GRU", "RNN"):  # W [directions, gates · hidden, in], R alike
            steps = prod(shapes[node.input[0]][:2])
            total += steps * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))
        elif node.op_type in ("Attention", "MultiHeadAttention", "GroupQueryAttention"):
            total += _attention(node, shapes)
        elif node.op_type == "Einsum" and len(node.input) > 1:
            total += prod(shapes[node.output[0]]) * _summed(node, shapes)
    return total / len(next(iter(feeds.values())))
