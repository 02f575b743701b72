"""Recurrent layers: all gates of a hidden unit, in every direction, are one."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from sosp_core.ir.recurrent import STATES
from sosp_core.ir.view import attribute
from sosp_core.ops.flow import Flow, Layer, Place, Reading, SizeRule
from sosp_core.ops.slots import Ids
from sosp_core.ops.table import rules

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PEEPHOLES = 7


@rules.register(*GATES)
def recurrent(node: ir.Node, flow: Flow) -> None:
    """``h ← f(W x + R h + b)``: unit u makes one row of W, R and b for each gate, and reads column u of R.

    The operator has one hidden size, so a unit goes in both directions or in none. What it feeds
    back goes with it: a gate on the columns of R silences that, one on its readers the rest.
    Spec: https://onnx.ai/onnx/operators/onnx__LSTM.html
    """
    x, w, r = node.inputs[:3]
    if x is None or w is None or r is None:
        return
    directions, _, hidden = flow.shape(r)
    n = GATES[node.op_type] * directions * prod(flow.shape(x)[:2]) / flow.shapes.batch
    stored = all(v is None or i in (0, 4) or v.is_initializer() for i, v in enumerate(node.inputs))
    if not stored or attribute(node, "layout", 0):
        flow.refuse(
            node, "a weight or initial state is computed" if not stored else "its layout is batch first"
        )
        work = n * hidden * (flow.shape(w)[2] + hidden)
        flow.layers.append(Layer(node=node.name or "", coefficient=work, factors=()))
        return
    flow.spare(x, {0, 1})
    if others := [ids for axis, ids in flow.of(x).items() if axis != 2]:
        flow.refuse(node, "structure on the axis of steps or samples", *others)
    ids = _bind_units(node, flow, hidden)
    _read_input(node, flow, ids, n)
    _feed_back(node, flow, r, ids, n)
    for output, axis in zip(node.outputs, (3, 2, 2), strict=False):
        if output.name:
            flow.emit(output, {axis: ids})


def _bind_units(node: ir.Node, flow: Flow, hidden: int) -> Ids:
    ids, gates = flow.space.mint(hidden), GATES[node.op_type]
    copies = {1: (1, gates), 2: (1, gates), 3: (1, 2 * gates), PEEPHOLES: (1, 3)}
    copies |= dict.fromkeys(STATES[node.op_type], (2, 1))
    for position, (axis, times) in copies.items():
        if position < len(node.inputs) and node.inputs[position] is not None:
            flow.bind(node, position, axis, np.tile(ids, times))
    flow.sizes.append(SizeRule(place=Place(node=node.name or "", name="hidden_size"), ids=ids))
    return ids


def _read_input(node: ir.Node, flow: Flow, ids: Ids, n: float) -> None:
    ids_in = flow.of(node.inputs[0]).get(2)
    factors: tuple[Ids, ...] = (ids,)
    if ids_in is None:
        n *= flow.input_shape(node, 1)[2]
    else:
        flow.bind(node, 1, 2, ids_in)
        flow.read(node, 0, 2, against=(1, 2))
        factors += (ids_in,)
    flow.layers.append(Layer(node=node.name or "", coefficient=n, factors=factors, produces=ids))


def _feed_back(node: ir.Node, flow: Flow, r: ir.Value, ids: Ids, n: float) -> None:
    flow.bind(node, 2, 2, ids)
    name = r.name or ""
    reading = Reading(value=name, node=node.name or "", position=2, axis=2, ids=ids, weight=(name, 2))
    flow.readings.append(reading)
    flow.layers.append(Layer(node=node.name or "", coefficient=n, factors=(ids, ids)))
