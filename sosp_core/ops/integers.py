"""Integers that a graph computes from sizes: where they come from, and how they can follow a cut.

Exporters write Reshape targets as chains of Shape, Gather, Mul, Div and Concat. Each element is
traced back to stored numbers and dimensions. Then it either follows the kept slots by itself,
or a stored number in it is rewritten, or what it depends on has to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from sosp_core.ir.view import attribute, constant
from sosp_core.ops.flow import Flow, Place, SizeRule
from sosp_core.ops.slots import Ids


@dataclass(frozen=True)
class Stored:
    """A number in the file."""

    number: int
    place: Place


@dataclass(frozen=True)
class Dimension:
    """The size of a tensor along an axis, read at run time."""

    number: int
    value: ir.Value
    axis: int


@dataclass(frozen=True)
class Computed:
    """A product, quotient, sum or difference."""

    number: int
    op_type: str
    left: Whole
    right: Whole


Whole = Stored | Dimension | Computed

#: Pass integers on unchanged, one for one.
SAME = frozenset("Unsqueeze Squeeze Cast Identity Reshape Floor".split())
ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a // b if b else 0,
}
#: What only moves or combines integers that came out of a Shape.
COUNTING = SAME | ARITHMETIC.keys() | frozenset("Shape Size Gather Slice Concat Where Equal".split())


#: Integers that are computed from sizes are a shape, or part of one.
LONGEST_SHAPE = 16


def trace(flow: Flow, value: ir.Value, index: int, user: ir.Node, position: int) -> Whole | None:
    """Where element ``index`` of a small integer tensor, input ``position`` of ``user``, comes from."""
    if (array := constant(value)) is not None:
        place = Place(node=user.name or "", position=position, index=index)
        flat = np.atleast_1d(array).ravel()
        return Stored(int(flat[index]), place) if index < flat.size else None
    node = value.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    first = node.inputs[0]
    if node.op_type in SAME:
        return trace(flow, first, index, node, 0)
    if node.op_type == "Shape":
        axis = index + int(attribute(node, "start", 0)) % max(len(flow.shape(first)), 1)
        return Dimension(flow.shape(first)[axis], first, axis)
    if node.op_type in ARITHMETIC:
        return _computed(flow, node, index)
    if node.op_type == "Where":
        return _chosen(flow, node, index)
    return _moved(flow, node, first, index)


def _moved(flow: Flow, node: ir.Node, first: ir.Value, index: int) -> Whole | None:
    if node.op_type == "Concat":
        for position, part in enumerate(node.inputs):
            length = 0 if part is None else prod(flow.shape(part))
            if part is not None and index < length:
                return trace(flow, part, index, node, position)
            index -= length
        return None
    length = prod(flow.shape(first))
    if node.op_type == "Gather" and (picked := constant(node.inputs[1])) is not None:
        return trace(flow, first, int(np.atleast_1d(picked).ravel()[index]) % length, node, 0)
    if node.op_type == "Slice":
        bounds = [constant(v) for v in node.inputs[1:]]
        if bounds[0] is None or bounds[1] is None or (len(bounds) > 3 and bounds[3] is None):
            return None
        step = 1 if len(bounds) < 4 or bounds[3] is None else int(bounds[3].ravel()[0])
        window = range(length)[int(bounds[0].ravel()[0]) : int(bounds[1].ravel()[0]) : step]
        return trace(flow, first, window[index], node, 0)
    return None


def _operand(flow: Flow, node: ir.Node, position: int, index: int) -> Whole | None:
    value = node.inputs[position]
    if value is None:
        return None
    return trace(flow, value, index if prod(flow.shape(value)) > 1 else 0, node, position)


def _computed(flow: Flow, node: ir.Node, index: int) -> Whole | None:
    left, right = _operand(flow, node, 0, index), _operand(flow, node, 1, index)
    if left is None or right is None:
        return None
    return Computed(ARITHMETIC[node.op_type](left.number, right.number), node.op_type, left, right)


def _chosen(flow: Flow, node: ir.Node, index: int) -> Whole | None:
    """``Where(shape == -1, ones, shape)``: how the classic exporter writes an Expand.

    A dimension is never negative, so which branch is taken does not depend on any size.
    """
    test = None if node.inputs[0] is None else node.inputs[0].producer()
    if test is None or test.op_type != "Equal":
        return None
    left, right = _operand(flow, test, 0, index), _operand(flow, test, 1, index)
    if left is None or not isinstance(right, Stored) or right.number >= 0:
        return None
    return _operand(flow, node, 1 if left.number == right.number else 2, index)


def dimensions(whole: Whole) -> Iterator[Dimension]:
    """Every dimension that an integer depends on."""
    if isinstance(whole, Dimension):
        yield whole
    elif isinstance(whole, Computed):
        yield from dimensions(whole.left)
        yield from dimensions(whole.right)


def moves(flow: Flow, whole: Whole) -> bool:
    """Whether it depends on a dimension that may shrink."""
    return any(ids is not None and flow.space.is_free(ids) for ids in _carried(flow, whole))


def _carried(flow: Flow, whole: Whole) -> Iterator[Ids | None]:
    return (flow.of(d.value).get(d.axis) for d in dimensions(whole))


def follow(flow: Flow, whole: Whole, ids: Ids) -> bool:
    """Make an integer equal the number of kept slots of ``ids``, whatever goes; False if it cannot."""
    if isinstance(whole, Stored):
        if whole.number == len(ids):
            tie(flow, whole.place, ids)
        return whole.number == len(ids)
    if isinstance(whole, Dimension):
        carried = flow.of(whole.value).get(whole.axis)
        return carried is not None and flow.space.same(carried, ids)
    for part, other in ((whole.left, whole.right), (whole.right, whole.left)):
        if moves(flow, other) or other.number < 1:
            continue
        if whole.op_type == "Mul":
            share = flow.space.quotient(ids, other.number)
            if share is not None and follow(flow, part, share):
                return hold(flow, other)
        elif whole.op_type == "Div" and part is whole.left and part.number == len(ids) * other.number:
            return follow(flow, part, np.repeat(ids, other.number)) and hold(flow, other)
    return False


def hold(flow: Flow, whole: Whole) -> bool:
    """Keep an integer as it is, whatever goes; False if it cannot be."""
    if isinstance(whole, Stored):
        _pin(flow, whole.place)
        return True
    if isinstance(whole, Dimension):
        return not moves(flow, whole)
    if whole.op_type == "Div" and isinstance(whole.left, Dimension) and moves(flow, whole.left):
        # A size for each head, from a width over a number of heads: the number follows the width.
        carried = flow.of(whole.left.value).get(whole.left.axis)
        share = None if carried is None else flow.space.quotient(carried, whole.number)
        return share is not None and not moves(flow, whole.right) and follow(flow, whole.right, share)
    return hold(flow, whole.left) and hold(flow, whole.right)


def _pin(flow: Flow, place: Place) -> None:
    flow.pinned.add(place)
    for known in (rule.ids for rule in flow.sizes if rule.place == place):
        flow.space.freeze(known, _pinned(place))


def tie(flow: Flow, place: Place, ids: Ids) -> None:
    """Let an integer follow ``ids``; where several targets are computed from it, all fall together."""
    if place in flow.pinned:
        flow.space.freeze(ids, _pinned(place))
    for known in (rule.ids for rule in flow.sizes if rule.place == place):
        if not flow.space.same(known, ids):
            flow.space.unite(known, ids)
    flow.sizes.append(SizeRule(place=place, ids=ids))


def _pinned(place: Place) -> str:
    return f"{place.node}: a number in it is also used where nothing can shrink"


#: Inputs that hold a target shape, which the rule of the operator makes follow.
TARGETS = {("Reshape", 1), ("Expand", 1), ("Resize", 3), ("ConstantOfShape", 0)}


def freeze_escapes(graph: ir.Graph, flow: Flow) -> None:
    """Keep every width that is read as a number and used for anything but a shape that follows.

    The masked network reads the full width there, the slim one would read the new.
    """
    counted: set[str] = set()
    for node in graph:
        given = [(position, v) for position, v in enumerate(node.inputs) if v is not None]
        inner = [(position, v) for position, v in given if (v.name or "") in counted]
        passes = inner and all((v.name or "") in counted or v.is_initializer() for _, v in given)
        if node.op_type in ("Shape", "Size") or (passes and node.op_type in COUNTING):
            counted |= {v.name or "" for v in node.outputs}
            continue
        for position, value in inner:
            if (node.op_type, position) not in TARGETS:
                freeze_sources(flow, value, node)
    for value in graph.outputs:
        producer = value.producer()
        if producer is not None and (value.name or "") in counted:
            freeze_sources(flow, value, producer)


def freeze_sources(flow: Flow, value: ir.Value, node: ir.Node) -> None:
    """Keep all that the integers in ``value``, which ``node`` uses, are computed from."""
    frozen: list[Ids] = []
    for index in range(min(prod(flow.shape(value)), LONGEST_SHAPE)):
        whole = trace(flow, value, index, node, 0)
        found = _upstream(flow, value) if whole is None else _carried(flow, whole)
        frozen += [ids for ids in found if ids is not None and flow.space.is_free(ids)]
    if frozen:
        flow.refuse(node, "a width is used as a number", *frozen)


def _upstream(flow: Flow, value: ir.Value) -> Iterator[Ids]:
    """Slots of every tensor whose shape an integer may depend on."""
    node = value.producer()
    if node is None:
        return
    if node.op_type in ("Shape", "Size"):
        yield from flow.of(node.inputs[0]).values()
        return
    for source in node.inputs:
        if source is not None:
            yield from _upstream(flow, source)


def follow_target(node: ir.Node, flow: Flow, position: int = 1, axes: Sequence[int] | None = None) -> None:
    """Make a target shape, input ``position`` of a node, follow what the node's output carries.

    Its elements are the sizes of ``axes`` (of all, if none are given).
    """
    x, target, y = node.inputs[0], node.inputs[position], node.outputs[0]
    if x is None or target is None:
        return
    slots, given = flow.of(y), flow.of(x)
    reason = "its target shape is computed in a way that cannot be followed"
    for index, axis in enumerate(range(len(flow.shape(y))) if axes is None else axes):
        ids = slots.get(axis)
        whole = trace(flow, target, index, node, position)
        if whole is None:
            involved = [ids] if ids is not None else list(_upstream(flow, target))
            if open_ := [i for i in involved if flow.space.is_free(i)]:
                flow.refuse(node, reason, *open_)
        elif whole.number == -1 and isinstance(whole, Stored):
            continue
        elif whole.number == 0 and isinstance(whole, Stored) and not attribute(node, "allowzero", 0):
            _follow_copy(node, flow, ids, given.get(axis), reason)
        elif ids is not None and flow.space.is_free(ids):
            if not follow(flow, whole, ids):
                flow.refuse(node, reason, ids, *(i for i in _carried(flow, whole) if i is not None))
        elif not hold(flow, whole):
            flow.refuse(node, reason, *(i for i in _carried(flow, whole) if i is not None))


def _follow_copy(node: ir.Node, flow: Flow, ids: Ids | None, given: Ids | None, reason: str) -> None:
    """A target of 0 copies the input's size."""
    involved = [i for i in (ids, given) if i is not None and flow.space.is_free(i)]
    if involved and (ids is None or given is None or not flow.space.same(ids, given)):
        flow.refuse(node, reason, *involved)
