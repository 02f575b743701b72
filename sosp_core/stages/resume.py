"""Results of stages as checkpoints, and what they depend on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from io import BytesIO

import numpy as np
import onnx
import onnx_ir as ir
import torch

from sosp_core.checkpoints import Codec, Sink
from sosp_core.data.dataset import Dataset
from sosp_core.ir.hollow import give_weights, hollow
from sosp_core.machine import library_versions
from sosp_core.select.plan import LatencyBudget, Plan
from sosp_core.stages.cut import Cut
from sosp_core.stages.offer import Choice
from sosp_core.stages.subject import Subject
from sosp_core.stages.trail import State
from sosp_core.structures.structures import Alive


def identity(subject: Subject, device: torch.device) -> str:
    """A digest of all that a stage's result depends on: content, not file names.

    Cost: one pass over model and data.
    """
    digest = hashlib.sha256()
    libraries = {**library_versions(), "sosp": version("sosp")}
    told = {"recipe": asdict(subject.recipe), "libraries": libraries, "device": device.type}
    for part in (json.dumps(told, sort_keys=True, default=str).encode(), *_content(subject)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _content(subject: Subject) -> Iterator[bytes | memoryview]:
    yield subject.sha256.encode()
    for name, value in subject.model.graph.initializers.items():  # weights beside the file, too
        yield name.encode()
        if value.const_value is not None:
            yield value.const_value.tobytes()
    for data in (subject.data, subject.evaluation):
        yield from () if data is None else _arrays(data)


def _arrays(data: Dataset) -> Iterator[bytes | memoryview]:
    for name, array in data.inputs.items():
        yield f"{name} {array.dtype} {array.shape}".encode()
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    if data.labels is not None:
        yield np.ascontiguousarray(data.labels).tobytes()


def _write_mask(alive: Alive, file: Sink) -> None:
    file.write(len(alive).to_bytes(8, "big") + np.packbits(alive).tobytes())


def _read_mask(content: bytes) -> Alive:
    count = int.from_bytes(content[:8], "big")
    return np.unpackbits(np.frombuffer(content[8:], np.uint8), count=count).astype(bool)


def _write_plan(plan: Plan, file: Sink) -> None:
    _write_mask(plan.alive, file)
    file.write(json.dumps(None if plan.latency is None else asdict(plan.latency)).encode())


def plan_codec(choice: Choice) -> Codec[Plan]:
    """Plans of one choice: the mask, and how a latency budget was met."""

    def read(content: bytes) -> Plan:
        length = 8 + (int.from_bytes(content[:8], "big") + 7) // 8
        told = json.loads(content[length:])
        latency = None if told is None else LatencyBudget.of(told)
        return replace(choice.plan(_read_mask(content[:length])), latency=latency)

    return Codec(_write_plan, read)


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A plan, and the masks that a trail passed on its way to it: the next plan may begin at any."""

    plan: Plan
    states: Sequence[State]


def leg_codec(choice: Choice) -> Codec[Leg]:
    """Legs of a trail of one choice."""
    plans = plan_codec(choice)

    def write(leg: Leg, file: Sink) -> None:
        plan, arrays = BytesIO(), BytesIO()
        plans.write(leg.plan, plan)
        np.savez(
            arrays,
            plan=np.frombuffer(plan.getvalue(), np.uint8),
            total=np.array([state.total for state in leg.states], np.int64),
            alive=np.array([state.alive for state in leg.states]),
            dearness=np.array([state.dearness for state in leg.states]),
        )
        file.write(arrays.getvalue())

    def read(content: bytes) -> Leg:
        with np.load(BytesIO(content), allow_pickle=False) as held:
            masks = zip(held["total"].tolist(), held["alive"], held["dearness"], strict=True)
            states = [State(total=total, alive=alive, dearness=dear) for total, alive, dear in masks]
            return Leg(plan=plans.read(held["plan"].tobytes()), states=states)

    return Codec(write, read)


def _write_cut(done: Cut, file: Sink) -> None:
    """A line of facts, the graph, and the weights one behind the other: of any size in all."""
    proto, arrays = hollow(done.model)
    graph = proto.SerializeToString()
    held = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    facts = {"error": done.error, "graph": len(graph), "weights": held}
    file.write(json.dumps(facts).encode() + b"\n")
    file.write(graph)
    for array in arrays.values():
        file.write(array.reshape(-1).view(np.uint8).data)


def _read_cut(content: bytes) -> Cut:
    line, _, rest = content.partition(b"\n")
    facts = json.loads(line)
    proto = onnx.ModelProto()
    proto.ParseFromString(rest[: facts["graph"]])
    weights, start = {}, facts["graph"]
    for name, dtype, shape in facts["weights"]:
        array = np.frombuffer(rest, dtype, math.prod(shape), start).reshape(shape)
        weights[name], start = array, start + array.nbytes
    return Cut(give_weights(ir.serde.deserialize_model(proto), weights), float(facts["error"]))


CUT = Codec(_write_cut, _read_cut)
