"""Einstein sums: every letter is an axis."""

from __future__ import annotations

from math import prod
from string import ascii_letters

import onnx_ir as ir

from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Layer
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules


@rules.register("Einsum")
def einsum(node: ir.Node, flow: Flow) -> None:
    """Axes with the same letter are united; what is not in the result is summed over.

    A letter that only a stored factor and the result have is an axis that the node makes.
    Spec: https://onnx.ai/onnx/operators/onnx__Einsum.html
    """
    equation = attribute(node, "equation", "").replace(" ", "")
    terms, result = _letters(equation, [len(flow.input_shape(node, i)) for i in range(len(node.inputs))])
    axes = [
        pair for i, term in enumerate(terms) for pair in zip(term, flow.input_shape(node, i), strict=True)
    ]
    size = {letter: max(n for c, n in axes if c == letter) for letter, _ in axes}
    work = prod(size.values()) / flow.shapes.batch if len(terms) > 1 else 0.0
    uneven = any(n != size[letter] for letter, n in axes)
    if "->" not in equation or uneven or any(len(set(term)) < len(term) for term in terms):
        flow.refuse(node, f"an equation that is not followed: {equation}")
        flow.layers.append(Layer(node=node.name or "", coefficient=work, factors=()))
        return
    _spare_heads(node, flow, terms, result)
    slots: dict[str, Ids] = {}
    made: Ids | None = None
    for letter in size:
        users = [(i, term.index(letter)) for i, term in enumerate(terms) if letter in term]
        ids = _meet(node, flow, users, made=letter in result)
        if ids is None:
            continue
        slots[letter] = ids
        if all(_stored(node, i) for i, _ in users):
            made = ids
        elif letter not in result:
            stored = next((pair for pair in users if _stored(node, pair[0])), None)
            for i, axis in users:
                flow.read(node, i, axis, against=stored)
    for ids in slots.values():
        work /= len(ids)
    flow.layers.append(
        Layer(node=node.name or "", coefficient=work, factors=tuple(slots.values()), produces=made)
    )
    flow.emit(node.outputs[0], {result.index(c): ids for c, ids in slots.items() if c in result})


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Terms and result, with letters of their own for the axes behind an ellipsis, last axes aligned."""
    given, _, result = equation.partition("->")
    terms = given.split(",")
    hidden = [
        n - len(term.replace("...", "")) if "..." in term else 0 for term, n in zip(terms, ranks, strict=True)
    ]
    most = max(hidden)
    fresh = "".join(c for c in ascii_letters if c not in equation)[:most]
    terms = [term.replace("...", fresh[most - n :]) for term, n in zip(terms, hidden, strict=True)]
    return terms, result.replace("...", fresh)


def _stored(node: ir.Node, position: int) -> bool:
    value = node.inputs[position]
    return value is not None and value.is_initializer()


def _spare_heads(node: ir.Node, flow: Flow, terms: list[str], result: str) -> None:
    """A joint goes to the axes that every factor and the result have: whole heads."""
    shared = {c for c in result if all(c in term for term in terms)}
    for i, term in enumerate(terms):
        flow.spare(node.inputs[i], {axis for axis, c in enumerate(term) if c not in shared})
        flow.of(node.inputs[i])


def _meet(node: ir.Node, flow: Flow, users: list[tuple[int, int]], *, made: bool) -> Ids | None:
    """Unite what the factors carry on one letter; new slots where only stored factors have it."""
    carried = [ids for i, axis in users if (ids := flow.of(node.inputs[i]).get(axis)) is not None]
    stored = [(i, axis) for i, axis in users if _stored(node, i)]
    if not carried and (not made or len(stored) < len(users)):
        return None
    ids = carried[0] if carried else flow.space.mint(flow.input_shape(node, users[0][0])[users[0][1]])
    for other in carried[1:]:
        flow.space.unite(ids, other)
    for i, axis in stored:
        flow.bind(node, i, axis, ids)
    if len(carried) + len(stored) < len(users):
        flow.refuse(node, "another factor has no structure on a shared axis", ids)
    return ids
