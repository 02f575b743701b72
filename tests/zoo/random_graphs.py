"""Random small networks, drawn operator by operator, for laws that must hold of any graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

BATCH, SIDE = 2, 4
OPSET = 18
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "HardSwish", "Exp", "Softplus", "Cos")
#: At least so many nodes are drawn; each choice may add a few.
MOST_STEPS = 9

Shape = tuple[int, ...]


@dataclass
class Sketch:
    """A graph under construction: what is there, with its shape for one sample."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def weight(self, *shape: int, positive: bool = False) -> str:
        values = self.rng.standard_normal(shape) / max(1.0, float(np.prod(shape[1:]))) ** 0.5
        return self.held(np.abs(values) + 0.5 if positive else values)

    def held(self, values: np.ndarray | list[int]) -> str:
        array = np.asarray(values)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, inputs: list[str], *shapes: Shape, **attributes: object) -> list[str]:
        names = [f"t{len(self.shapes) + i}" for i in range(len(shapes))]
        self.shapes |= dict(zip(names, shapes, strict=True))
        self.nodes.append(helper.make_node(op_type, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def model(self, output: str) -> onnx.ModelProto:
        port = helper.make_tensor_value_info
        source = port("x", TensorProto.FLOAT, ["N", *self.shapes["x"]])
        result = port(output, TensorProto.FLOAT, ["N", *self.shapes[output]])
        graph = helper.make_graph(self.nodes, "drawn", [source], [result], self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _convolve(draw: st.DrawFn, g: Sketch, x: str) -> None:
    c, *side = g.shapes[x]
    group = draw(st.sampled_from([n for n in (1, 1, 2, c) if c % n == 0]))
    out = group * draw(st.integers(1, max(1, 6 // group)))
    kernel = draw(st.sampled_from([1, 3]))
    g.node(
        "Conv",
        [x, g.weight(out, c // group, kernel, kernel), g.weight(out)],
        (out, *side),
        group=group,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
    )


def _normalise(draw: st.DrawFn, g: Sketch, x: str) -> None:
    shape = g.shapes[x]
    if len(shape) == 3 and draw(st.booleans()):
        numbers = [g.weight(shape[0]), g.weight(shape[0]), g.weight(shape[0])]
        g.node("BatchNormalization", [x, *numbers, g.weight(shape[0], positive=True)], shape)
    elif draw(st.booleans()):
        g.node("LayerNormalization", [x, g.weight(shape[-1])], shape, axis=-1)
    else:
        g.node("Softmax", [x], shape, axis=draw(st.integers(1, len(shape))))


def _activate(draw: st.DrawFn, g: Sketch, x: str) -> None:
    g.node(draw(st.sampled_from(ACTIVATIONS)), [x], g.shapes[x])


def _combine(draw: st.DrawFn, g: Sketch, x: str) -> None:
    """With a tensor of the same shape, with a stored one, or with its own mean."""
    shape = g.shapes[x]
    op_type = draw(st.sampled_from(["Add", "Mul", "Sub", "Max"]))
    alike = [name for name, other in g.shapes.items() if other == shape]
    kind = draw(st.sampled_from(["alike", "stored", "mean"]))
    if kind == "alike":
        other = draw(st.sampled_from(alike))
    elif kind == "stored":
        other = g.weight(*(n if draw(st.booleans()) else 1 for n in shape))
    else:
        axis = draw(st.integers(1, len(shape)))
        small = tuple(1 if i == axis - 1 else n for i, n in enumerate(shape))
        (other,) = g.node("ReduceMean", [x, g.held([axis])], small)
    g.node(op_type, [x, other], shape)


def _join(draw: st.DrawFn, g: Sketch, x: str) -> None:
    shape = g.shapes[x]
    axis = draw(st.integers(0, len(shape) - 1))
    fits = [
        name
        for name, other in g.shapes.items()
        if len(other) == len(shape)
        and all(i == axis or a == b for i, (a, b) in enumerate(zip(shape, other, strict=True)))
        and other[axis] + shape[axis] <= 12
    ]
    if not fits:
        return
    other = draw(st.sampled_from(fits))
    joined = tuple(n + g.shapes[other][i] if i == axis else n for i, n in enumerate(shape))
    g.node("Concat", [x, other], joined, axis=axis + 1)


def _part(draw: st.DrawFn, g: Sketch, x: str) -> None:
    """Split in two, or slice, or pad, along any axis but that of samples."""
    shape = g.shapes[x]
    axis = draw(st.integers(0, len(shape) - 1))
    n = shape[axis]

    def sized(width: int) -> Shape:
        return tuple(width if i == axis else k for i, k in enumerate(shape))

    if n > 1 and draw(st.booleans()):
        cut = draw(st.integers(1, n - 1))
        g.node("Split", [x, g.held([cut, n - cut])], sized(cut), sized(n - cut), axis=axis + 1)
    elif n > 1 and draw(st.booleans()):
        start, end = draw(st.integers(0, n - 1)), draw(st.integers(1, n))
        if start < end:
            bounds = [g.held([start]), g.held([end]), g.held([axis + 1])]
            g.node("Slice", [x, *bounds], sized(end - start))
    elif n <= 8:
        before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        pads = [0] * (2 * len(shape) + 2)
        pads[axis + 1], pads[axis + 1 + len(pads) // 2] = before, after
        g.node("Pad", [x, g.held(pads)], sized(n + before + after))


def _turn(draw: st.DrawFn, g: Sketch, x: str) -> None:
    shape = g.shapes[x]
    order = draw(st.permutations(range(len(shape))))
    g.node("Transpose", [x], tuple(shape[i] for i in order), perm=[0, *(i + 1 for i in order)])


def _reshape(draw: st.DrawFn, g: Sketch, x: str) -> None:
    """Merge two neighbouring axes, or cut one in two."""
    shape = g.shapes[x]
    axis = draw(st.integers(0, len(shape) - 1))
    if len(shape) > 1 and axis + 1 < len(shape) and draw(st.booleans()):
        new = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    else:
        parts = [p for p in (2, 3) if shape[axis] % p == 0]
        if not parts or len(shape) > 3:
            return
        part = draw(st.sampled_from(parts))
        new = (*shape[:axis], part, shape[axis] // part, *shape[axis + 1 :])
    g.node("Reshape", [x, g.held([0, *new])], new)


def _multiply(draw: st.DrawFn, g: Sketch, x: str) -> None:
    """With a weight along the last axis, or with a tensor that fits."""
    shape = g.shapes[x]
    if len(shape) > 1 and draw(st.booleans()):
        flipped = (*shape[:-2], shape[-1], shape[-2])
        order = [*range(len(shape) - 1), len(shape), len(shape) - 1]
        (other,) = g.node("Transpose", [x], flipped, perm=order)
        g.node("MatMul", [x, other], (*shape[:-1], shape[-2]))
        return
    out = draw(st.integers(2, 6))
    g.node("MatMul", [x, g.weight(shape[-1], out)], (*shape[:-1], out))


STEPS = (_convolve, _normalise, _activate, _combine, _join, _part, _turn, _reshape, _multiply)


@st.composite
def random_models(draw: st.DrawFn) -> bytes:
    """A file of some connected operators between one input and one output, with a free batch."""
    g = Sketch(rng=np.random.default_rng(draw(st.integers(0, 2**16))))
    g.shapes["x"] = (3, SIDE, SIDE)
    _convolve(draw, g, "x")
    for _ in range(draw(st.integers(2, MOST_STEPS))):
        recent = list(g.shapes)[-3:]
        x = draw(st.sampled_from([name for name in recent if name != "x"]))
        step = draw(st.sampled_from(STEPS))
        if step is not _convolve or len(g.shapes[x]) == 3:
            step(draw, g, x)
    last = list(g.shapes)[-1]
    out = g.shapes[last]
    # A last layer with weights, so that what is before it need not all stay.
    (result,) = g.node("MatMul", [last, g.weight(out[-1], 2)], (*out[:-1], 2))
    return g.model(result).SerializeToString()
