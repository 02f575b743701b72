"""A network in pieces that a clock can hold: each node with weights, and what is fused to it.

A piece is a small model of its own, built for any widths: weights are cut to their first indices,
inputs are random. ONNX Runtime fuses element-wise successors into a convolution or a product, so
they are timed with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sosp_core.cost.axes import Axes
from sosp_core.ops.flow import Place
from sosp_core.runtime.observe import Shapes
from sosp_core.runtime.session import Array
from sosp_core.structures.structures import Members, Structures

#: Keep the shape of their first input, and are fused to what makes it.
FOLLOWERS = frozenset(
    "Add BatchNormalization Clip Div Elu Gelu HardSigmoid HardSwish LeakyRelu Mul PRelu Relu "
    "Sigmoid Sub Tanh".split()
)
#: Operators whose time is in their arithmetic, if a matrix of weights takes part in it.
MULTIPLIERS = frozenset(
    "Attention Conv ConvTranspose Einsum FusedConv FusedMatMul GRU Gemm LSTM MatMul RNN".split()
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A few nodes in a row that are timed together.

    Attributes:
        nodes: Positions in the graph, in order.
        axes: Numbers of the axes its time depends on.
        signature: Equal for segments that take equal time at equal widths.
    """

    nodes: tuple[int, ...]
    axes: tuple[int, ...]
    signature: str


@dataclass(frozen=True, kw_only=True)
class Rest:
    """A node that moves data and holds no weights: its time goes with the numbers it touches.

    Attributes:
        coefficient: Numbers touched, by tensor, apart from the axes that follow a plan.
        axes: Numbers of those axes, by tensor.
    """

    coefficient: tuple[float, ...]
    axes: tuple[tuple[int, ...], ...]

    def touched(self, widths: NDArray[np.int64]) -> float:
        """Numbers read and written at these widths."""
        products = (
            c * float(np.prod(widths[list(a)])) for c, a in zip(self.coefficient, self.axes, strict=True)
        )
        return sum(products)


class Anatomy:
    """A model taken apart.

    Attributes:
        axes: The widths that everything is a function of.
        segments: Nodes with weights.
        rest: All others.
    """

    def __init__(self, proto: onnx.ModelProto, structures: Structures, shapes: Shapes) -> None:
        self._proto, self._shapes, self._structures = proto, shapes, structures
        self._weights = {t.name: t for t in proto.graph.initializer}
        self._number: dict[bytes, int] = {}
        self._axis_of: dict[str, dict[int, int]] = {}
        distinct: list[Members] = []
        tensors = {**structures.axes, **structures.slices}
        for name, carried in tensors.items():
            self._axis_of[name] = {a: self._enter(m, distinct) for a, m in carried.items()}
        self._sizes: dict[str, list[tuple[Place, int]]] = {}
        for size in structures.sizes:
            at = self._sizes.setdefault(size.place.node, [])
            at.append((size.place, self._enter(size.members, distinct)))
        self.axes = Axes.of(distinct, structures)
        taken: set[int] = set()
        self.segments = tuple(self._segments(taken))
        nodes = enumerate(proto.graph.node)
        self.rest = tuple(self._rest(node) for i, node in nodes if i not in taken)

    def _enter(self, members: Members, distinct: list[Members]) -> int:
        key = members.tobytes()
        if key not in self._number:
            self._number[key] = len(distinct)
            distinct.append(members)
        return self._number[key]

    def _segments(self, taken: set[int]) -> Iterable[Segment]:
        graph = self._proto.graph
        readers: dict[str, list[int]] = {}
        for position, node in enumerate(graph.node):
            for name in node.input:
                readers.setdefault(name, []).append(position)
        ends = {o.name for o in graph.output}
        for position, node in enumerate(graph.node):
            if position in taken or not self._is_weighted(node):
                continue
            chain = [position]
            while True:
                output = graph.node[chain[-1]].output[0]
                following = readers.get(output, [])
                if output in ends or len(following) != 1 or following[0] in taken:
                    break
                reader = graph.node[following[0]]
                if reader.op_type not in FOLLOWERS or not self._same_shape(output, reader.output[0]):
                    break
                chain.append(following[0])
            taken.update(chain)
            yield self._segment(tuple(chain))

    def _is_weighted(self, node: onnx.NodeProto) -> bool:
        if node.op_type not in MULTIPLIERS:
            return False
        held = [name for name in node.input if name in self._weights]
        shape, dtype = self._shapes.shape, self._shapes.dtype
        return any(len(shape[n]) >= 2 and np.issubdtype(dtype[n], np.floating) for n in held)

    def _same_shape(self, one: str, other: str) -> bool:
        shape = self._shapes.shape
        return one in shape and other in shape and shape[one] == shape[other]

    def _segment(self, nodes: tuple[int, ...]) -> Segment:
        """Describe every tensor by its place in the piece, so that names do not matter."""
        places: dict[str, int] = {}
        axes: dict[int, int] = {}  # in order of appearance, so that equal pieces number them alike
        told: list[str] = []
        for position in nodes:
            node = self._proto.graph.node[position]
            attributes = sorted(a.SerializeToString(deterministic=True).hex() for a in node.attribute)
            told.append(f"{node.domain}.{node.op_type}{attributes}")
            for name in (*node.input, *node.output):
                place = places.setdefault(name, len(places))
                carried = self._axis_of.get(name, {}).items()
                local = [(axis, axes.setdefault(number, len(axes))) for axis, number in carried]
                kind = "weight" if name in self._weights else self._shapes.dtype.get(name)
                told.append(f"{place}:{kind}{self._shapes.shape.get(name)}{local}")
            for _, number in self._sizes.get(node.name, []):
                axes.setdefault(number, len(axes))
        return Segment(nodes=nodes, axes=tuple(axes), signature="|".join(told))

    def _rest(self, node: onnx.NodeProto) -> Rest:
        names = [n for n in (*node.input, *node.output) if n in self._shapes.shape]
        touched = [n for n in names if n not in self._weights]
        carried = [self._axis_of.get(n, {}) for n in touched]
        return Rest(
            coefficient=tuple(
                float(np.prod([d for a, d in enumerate(self._shapes.shape[n]) if a not in at]))
                for n, at in zip(touched, carried, strict=True)
            ),
            axes=tuple(tuple(at.values()) for at in carried),
        )

    def piece(self, segment: Segment, widths: Mapping[int, int]) -> tuple[bytes, dict[str, Array]]:
        """A segment as a model, and inputs for it.

        Args:
            segment: One of ``segments``.
            widths: For each axis number of the segment, how wide it is.
        """
        nodes = [self._proto.graph.node[i] for i in segment.nodes]
        names = dict.fromkeys(n for node in nodes for n in node.input if n)
        inner = {o for node in nodes for o in node.output}
        weights = {n: self._cut(n, widths) for n in names if n in self._weights}
        feeds = {n: self._random(n, widths) for n in names if n not in weights and n not in inner}
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        for node in copies:
            for place, axis in self._sizes.get(node.name, []):
                _write(node, place, widths[axis], weights)
        graph = helper.make_graph(
            copies,
            "segment",
            [helper.make_tensor_value_info(n, _element(a), a.shape) for n, a in feeds.items()],
            [onnx.ValueInfoProto(name=o) for o in copies[-1].output if o],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=self._proto.opset_import, ir_version=self._proto.ir_version
        )
        return model.SerializeToString(), feeds

    def _shape(self, name: str, widths: Mapping[int, int]) -> tuple[int, ...]:
        carried = self._axis_of.get(name, {})
        return tuple(
            widths[carried[a]] if a in carried else d for a, d in enumerate(self._shapes.shape[name])
        )

    def _cut(self, name: str, widths: Mapping[int, int]) -> Array:
        array = numpy_helper.to_array(self._weights[name])
        return np.ascontiguousarray(array[tuple(slice(n) for n in self._shape(name, widths))])

    def _random(self, name: str, widths: Mapping[int, int]) -> Array:
        shape, dtype = self._shape(name, widths), self._shapes.dtype[name]
        if not np.issubdtype(dtype, np.floating):
            return np.zeros(shape, dtype)  # an index that is always there
        return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def _element(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _write(node: onnx.NodeProto, place: Place, number: int, weights: dict[str, Array]) -> None:
    """Set an integer of a node that follows a width."""
    if place.name is not None:
        for attribute in node.attribute:
            if attribute.name == place.name and place.index is None:
                attribute.i = number
            elif attribute.name == place.name and place.index is not None:
                attribute.ints[place.index] = number
    elif place.position is not None and place.index is not None:
        name = node.input[place.position]
        array = np.array(weights[name])
        array.reshape(-1)[place.index] = number
        weights[name] = array
