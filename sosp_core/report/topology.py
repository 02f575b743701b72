"""The graph of a network, small enough to look at.

A node that reads a single block belongs to that block unless its weights make a width: a convolution takes
its BatchNormalization, activation and pooling with it, and ``x * sigmoid(x)`` stays one thing. What then
remains are layers, and the joints where several of them meet.

What only computes shapes and indices is left out, as are values that a sub-graph takes from around it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from sosp_core.ir.view import inputs, is_float, label
from sosp_core.report.block import Block, Fate
from sosp_core.select.plan import LayerCut
from sosp_core.structures.structures import Structures


def topology(
    model: ir.Model, structures: Structures, cuts: Sequence[LayerCut], bottlenecks: Collection[str] = ()
) -> tuple[Block, ...]:
    """The blocks of a model in the order of its graph: what a block reads stands before it.

    Args:
        model: The original, normalised.
        structures: What could go from it.
        cuts: What went, by node.
        bottlenecks: Nodes that were found to limit the network.
    """
    found = _Blocks(set(bottlenecks))
    found.cuts = {cut.node: cut for cut in cuts}
    found.fixed = {layer.node: (len(layer.members), layer.fixed) for layer in structures.layers}
    found.refused = {refusal.node: refusal.reason for refusal in structures.refusals}
    for value in inputs(model.graph):
        found.add(Block(name=value.name or "", op="Input", fate=Fate.PORT), [value])
    for node in model.graph:
        found.follow(node)
    for value in model.graph.outputs:
        found.add(found.port(value), [])
    return tuple(found.blocks)


@dataclass(eq=False)
class _Blocks:
    """The blocks so far, and which of them makes each value."""

    bottlenecks: set[str]
    cuts: dict[str, LayerCut] = field(default_factory=dict)
    fixed: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    home: dict[str, int] = field(default_factory=dict)

    def add(self, block: Block, makes: Sequence[ir.Value]) -> None:
        self.home |= {value.name or "": len(self.blocks) for value in makes}
        self.blocks.append(block)

    def follow(self, node: ir.Node) -> None:
        """Begin a block with this node, or put it to the one it reads."""
        reads = tuple(sorted({self.home[name] for name in _read(node) if name in self.home}))
        reason = self.refused.get(label(node), "")
        own = (node.name or "") in self.fixed
        if len(reads) == 1 and not own and self.blocks[reads[0]].fate is not Fate.PORT:
            self._fold(node, reads[0], reason)
        elif reads or own:
            self.add(self._begin(node, reads, reason), node.outputs)

    def port(self, value: ir.Value) -> Block:
        reads = (self.home[value.name or ""],) if value.name in self.home else ()
        return Block(name=value.name or "", op="Output", reads=reads, fate=Fate.PORT)

    def _fold(self, node: ir.Node, into: int, reason: str) -> None:
        block = self.blocks[into]
        also = tuple(dict.fromkeys((*block.also, node.op_type)))
        note = block.note or (f"{node.op_type}: {reason}" if reason else "")
        self.blocks[into] = replace(block, also=also, note=note)
        self.home |= {value.name or "": into for value in node.outputs}

    def _begin(self, node: ir.Node, reads: tuple[int, ...], reason: str) -> Block:
        name = node.name or ""
        cut, (width, fixed) = self.cuts.get(name), self.fixed.get(name, (None, ""))
        block = Block(name=name, op=node.op_type, reads=reads, note=reason)
        if cut is not None:
            return replace(block, before=cut.before, after=cut.after, fate=self._fate(name, cut))
        if width is None:
            return replace(block, fate=Fate.FIXED) if reason else block
        return replace(block, before=width, after=width, fate=Fate.FIXED, note=fixed)

    def _fate(self, name: str, cut: LayerCut) -> Fate:
        if name in self.bottlenecks:
            return Fate.BOTTLENECK
        if cut.after == 0:
            return Fate.GONE
        if cut.after != cut.before:
            return Fate.CUT if cut.after < cut.before else Fate.WIDER
        return Fate.WHOLE


def _read(node: ir.Node) -> Iterator[str]:
    """What a node computes with: its real numbers if it has any, for the rest are sizes and indices."""
    given = [value for value in node.inputs if value is not None and not value.is_initializer()]
    numbers = [value for value in given if is_float(value)]
    yield from (value.name or "" for value in numbers or given)
