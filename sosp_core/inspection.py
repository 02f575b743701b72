"""What a model is, what it costs, and what could be removed from it, without a job."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from sosp_core.config import Metric
from sosp_core.convert.check import require_same_function
from sosp_core.convert.network import Network, Survey, survey
from sosp_core.cost.model import measure
from sosp_core.data.probe import probe_feeds
from sosp_core.errors import DataMismatch, OutOfMemory, SospError
from sosp_core.ir.bfloat16 import widen
from sosp_core.ir.interface import interface
from sosp_core.ir.kinds import unsupported
from sosp_core.ir.load import read_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.view import inputs, is_float, opset
from sosp_core.ops.table import rules
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import Array
from sosp_core.structures.discover import discover
from sosp_core.structures.structures import Structures

SAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class OperatorSupport:
    """What happens to the nodes of one operator.

    Attributes:
        nodes: How many there are, after normalisation.
        converter: Who computes it in torch: ``own``, ``onnx2torch`` or ``none``.
        channels: ``followed`` if structures are followed through it, else ``frozen``.
    """

    op_type: str
    domain: str
    nodes: int
    converter: str
    channels: str


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Facts about a model.

    Attributes:
        exporter: Name and version of the program that wrote the file, as far as it tells.
        opsets: Versions by operator domain.
        operators: Nodes by operator, after normalisation.
        support: The same with what happens to them.
        parameters: Numbers in float initializers.
        costs: Metrics of the whole model; empty if the model could not be run.
        groups: Name and number of structures of each prunable group.
        refusals: What stays, and why.
        blockers: What would stop a job; empty if nothing would.
        notes: What could not be found out, and why.
    """

    inputs: list[str]
    outputs: list[str]
    exporter: str
    opset: int
    opsets: dict[str, int]
    operators: dict[str, int]
    support: list[OperatorSupport]
    parameters: int
    costs: dict[Metric, int]
    groups: list[dict[str, Any]]
    refusals: list[str]
    blockers: list[str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON."""
        costs = {str(metric): value for metric, value in self.costs.items()}
        return {"schema": "sosp.inspection/1", **asdict(self), "costs": costs}


def inspect(model: Path | bytes, data: Path | None = None) -> Inspection:
    """Look at a model as a job would, up to the point where scores would be taken.

    What stands in a job's way is reported, all of it at once; an error means that the file cannot
    even be read as a model.

    Args:
        model: The file, or its content: a model, or a zip bundle of a model and its weights.
        data: Samples that fix the dynamic dimensions; random numbers otherwise.

    Raises:
        ModelError: The file is no usable model.
        DataError: The data are unreadable or do not fit the model.
        OutOfMemory: The model or its inputs are too large for this machine.
    """
    graph = read_model(model)
    blockers = [_told(error) for error in unsupported(graph)]
    normalize(graph)
    ports = [_port(v) for v in inputs(graph.graph)], [_port(v) for v in graph.graph.outputs]
    widen(graph)
    found = survey(graph)
    notes: list[str] = []
    structures = None
    if blockers:
        notes.append("costs and structures are unknown: a model of this kind is not run")
    elif not _runs_to_an_end(graph):
        notes.append("costs and structures are unknown: the model repeats parts of itself and was not run")
    else:
        try:
            structures = _structures(graph, found, data, blockers)
        except DataMismatch as error:
            if data is not None:
                raise
            notes.append(f"costs and structures are unknown without data: {error}")
        except MemoryError as error:
            raise OutOfMemory(device="cpu") from error
        except SospError as error:
            blockers.append(_told(error))
    blockers += [f"unsupported_op: {reason}" for reason in found.refused.values()]
    return Inspection(
        inputs=ports[0],
        outputs=ports[1],
        exporter=" ".join(filter(None, (graph.producer_name, graph.producer_version))),
        opset=opset(graph),
        opsets=dict(graph.graph.opset_imports),
        operators=dict(Counter(node.op_type for node in graph.graph).most_common()),
        support=_support(graph, found),
        parameters=_parameters(graph),
        costs=measure(structures, structures.all_alive()) if structures else {},
        groups=structures.inventory() if structures else [],
        refusals=[str(r) for r in structures.refusals] if structures else [],
        blockers=list(dict.fromkeys(blockers)),
        notes=notes,
    )


def _told(error: SospError) -> str:
    return f"{error.code}: {error}"


def _runs_to_an_end(graph: ir.Model) -> bool:
    """False if the graph decides itself how long it runs, which may be for ever."""
    nodes = ir.traversal.RecursiveGraphIterator(graph.graph)
    return not any(node.op_type in ("Loop", "Scan", "SequenceMap") for node in nodes)


def _structures(graph: ir.Model, found: Survey, data: Path | None, blockers: list[str]) -> Structures:
    """Run the model once, note what would stop a job, and find what could be removed."""
    ports = interface(graph)
    feeds = probe_feeds(ports, data, ports.batch or SAMPLES)
    if not found.refused:
        blockers += _differences(graph, feeds)
    structures = discover(graph, observe_shapes(graph, feeds))
    if structures.count == 0:
        blockers.append("nothing_to_compress: no layer has removable channels or units")
    return structures


def _differences(graph: ir.Model, feeds: dict[str, Array]) -> list[str]:
    try:
        require_same_function(Network(graph), graph, feeds)
    except SospError as error:
        return [_told(error)]
    return []


def _port(value: ir.Value) -> str:
    if not isinstance(value.type, ir.TensorType):
        return f"{value.name}: {value.type}"
    dims = "..." if value.shape is None else ", ".join(_dim(d) for d in value.shape)
    return f"{value.name}: {_type_name(value.type.dtype)}[{dims}]"


def _type_name(dtype: ir.DataType) -> str:
    nameless = (ir.DataType.STRING, ir.DataType.UNDEFINED)
    return dtype.name.lower() if dtype in nameless else str(dtype.numpy())


def _dim(dim: int | ir.SymbolicDim) -> str:
    return str(dim if isinstance(dim, int) else dim.value or "?")


def _support(graph: ir.Model, found: Survey) -> list[OperatorSupport]:
    """One entry for each operator and what becomes of it, the most frequent first."""
    entries: Counter[tuple[str, str, str, str]] = Counter()
    for node in graph.graph:
        name = node.name or ""
        own = "onnx2torch" if name in found.borrowed else "own"
        converter = "none" if name in found.refused else own
        channels = "frozen" if rules.find(node) is None else "followed"
        entries[node.op_type, node.domain, converter, channels] += 1
    return [
        OperatorSupport(op_type=op_type, domain=domain, nodes=nodes, converter=converter, channels=channels)
        for (op_type, domain, converter, channels), nodes in entries.most_common()
    ]


def _parameters(graph: ir.Model) -> int:
    held = [v.const_value for v in graph.graph.initializers.values() if is_float(v)]
    return sum(tensor.size for tensor in held if tensor is not None)
