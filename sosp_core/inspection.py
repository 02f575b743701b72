"""What a model is, what it costs, and what could be removed from it, without a job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sosp_core.config import Metric
from sosp_core.convert.check import require_same_function
from sosp_core.convert.network import Network
from sosp_core.cost.model import measure
from sosp_core.data.probe import probe_feeds
from sosp_core.errors import SospError
from sosp_core.ir.interface import interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.view import opset
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import Array
from sosp_core.structures.discover import discover

SAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Facts about a model.

    Attributes:
        operators: Nodes by operator, after normalisation.
        costs: Metrics of the whole model.
        groups: Name and number of structures of each prunable group.
        refusals: What stays, and why.
        blockers: What would stop a job; empty if nothing would.
    """

    inputs: list[str]
    outputs: list[str]
    opset: int
    operators: dict[str, int]
    costs: dict[Metric, int]
    groups: list[dict[str, Any]]
    refusals: list[str]
    blockers: list[str]

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON."""
        return {
            "schema": "sosp.inspection/1",
            "inputs": self.inputs,
            "outputs": self.outputs,
            "opset": self.opset,
            "operators": self.operators,
            "costs": {str(k): v for k, v in self.costs.items()},
            "groups": self.groups,
            "refusals": self.refusals,
            "blockers": self.blockers,
        }


def inspect(model: Path | bytes, data: Path | None = None) -> Inspection:
    """Look at a model as a job would, up to the point where scores would be taken.

    Args:
        model: The file, or its content.
        data: Samples that fix the dynamic dimensions; random numbers otherwise.

    Raises:
        ModelError: The file is no usable model.
        DataMismatch: An inner dimension is dynamic and there are no data to fix it.
    """
    graph = normalize(load_model(model))
    ports = interface(graph)
    feeds = probe_feeds(ports, data, ports.batch or SAMPLES)
    blockers = _blockers(graph, feeds)
    structures = discover(graph, observe_shapes(graph, feeds))
    if structures.count == 0:
        blockers.append("nothing_to_compress: no layer has removable channels or units")
    return Inspection(
        inputs=[f"{p.name}: {p}" for p in ports.inputs],
        outputs=[f"{p.name}: {p}" for p in ports.outputs],
        opset=opset(graph),
        operators=dict(Counter(node.op_type for node in graph.graph).most_common()),
        costs=measure(structures, structures.all_alive()),
        groups=structures.inventory(),
        refusals=[str(r) for r in structures.refusals],
        blockers=blockers,
    )


def _blockers(graph: ir.Model, feeds: dict[str, Array]) -> list[str]:
    try:
        require_same_function(Network(graph), graph, feeds)
    except SospError as error:
        return [f"{error.code}: {error}"]
    return []
