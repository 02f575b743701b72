"""What scores cost as structures and samples grow: gradient passes, and memory in a process of its own.

``python -m tests.benchmarks.saliency_growth METHOD STRUCTURES SAMPLES`` is that process. It prints what the
loaded network takes and what scoring takes above it, in bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from sosp_core.config import Method
from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.structures.gating import gate_model
from tests.zoo.built import Built, prepare

ROOT = Path(__file__).parents[2]
RAW = ROOT / "docs" / "raw" / "saliency_growth.json"
METHODS = (Method.RECOVERY, Method.SOSP_SIGNED, Method.SOSP_H, Method.SOSP_I)
STRUCTURES, SAMPLES = (2_000, 10_000, 50_000), (250, 1_000)
#: What scoring 50,000 structures on 1,000 samples may take above the loaded network.
MOST_BYTES = 4e9
TURNS, BATCH, CHUNK = 3, 32, 8
#: More classes than there are probes, so that each sample has as many rows as it can.
INPUTS, LAYER, CLASSES = 64, 500, 20
TASK = Task(kinds=(Kind.LOGITS,), labelled=True)
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One criterion at one size.

    Attributes:
        gradient_s: Seconds of a training gradient over the same images, the median of the turns.
        passes: What scoring took in each turn, in units of the training gradient beside it.
        loaded: Bytes resident before: libraries, the model and the network in mask space.
        above: Bytes above that at the most, while scoring and choosing a chunk in every group.
    """

    criterion: str
    structures: int
    samples: int
    gradient_s: float
    passes: tuple[float, ...]
    loaded: int
    above: int


def perceptron(structures: int) -> bytes:
    """Layers of equal width one behind the other, so that only their number grows."""
    rng, nodes, stored, last, width = np.random.default_rng(0), [], [], "x", INPUTS
    layers = structures // LAYER
    for number in range(layers + 1):
        made, name = (LAYER, f"h{number}") if number < layers else (CLASSES, "y")
        weight = rng.standard_normal((width, made)) * np.sqrt(2 / width)
        stored += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{number}"),
            numpy_helper.from_array(np.zeros(made, np.float32), f"b{number}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [name]))
        if number < layers:
            nodes.append(helper.make_node("Relu", [name], [last := f"r{number}"]))
        width = made
    ports = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])]
        for name, size in (("x", INPUTS), ("y", CLASSES))
    ]
    graph = helper.make_graph(nodes, "perceptron", *ports, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def case(structures: int, samples: int) -> tuple[Built, Dataset]:
    """The network, and data without meaning: only their size matters."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((samples, INPUTS)).astype(np.float32)
    built = prepare(perceptron(structures))
    assert built.structures.count == structures
    return built, Dataset(inputs={"x": inputs}, labels=rng.integers(0, CLASSES, samples))


def scorer(method: Method, built: Built, data: Dataset) -> Callable[[], Any]:
    """Prices the whole network once it is called; all it needs is loaded before."""
    gated = gate_model(built.model, built.structures, built.shapes)
    task, device = criteria[method].task(TASK), torch.device("cpu")
    space = MaskSpace(gated, data, task, batch_size=BATCH, device=device)
    scene = Scene(model=built.model, structures=built.structures, space=lambda: space, seed=0)
    return lambda: criteria[method](scene, built.structures.all_alive())


def trainer(built: Built, data: Dataset) -> Callable[[], None]:
    """One gradient of all weights over the data."""
    network = Network(built.model).train()

    def run() -> None:
        network.zero_grad(set_to_none=True)
        for part in data.batches(BATCH):
            assert part.labels is not None
            y = network(torch.as_tensor(part.inputs["x"]))
            TASK.supervised(y, torch.as_tensor(part.labels)).backward()

    return run


def measured(structures: int, samples: int) -> list[Row]:
    """All criteria in turns, so that a busy machine slows all of them alike."""
    built, data = case(structures, samples)
    train, scores = trainer(built, data), {m: scorer(m, built, data) for m in METHODS}
    turns = []
    for _ in range(TURNS):
        unit = seconds(train)
        turns.append((unit, {m: seconds(score) / unit for m, score in scores.items()}))
    return [
        Row(
            criterion=str(method),
            structures=structures,
            samples=samples,
            gradient_s=round(float(np.median([unit for unit, _ in turns])), 3),
            passes=tuple(round(took[method], 2) for _, took in turns),
            **memory(method, structures, samples),
        )
        for method in METHODS
    ]


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def memory(method: Method, structures: int, samples: int) -> dict[str, int]:
    """``loaded`` and ``above``, of a process that does nothing else."""
    command = [sys.executable, "-m", __name__, str(method), str(structures), str(samples)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, int] = json.loads(done.stdout)
    return told


def resident(field: str) -> int:
    """``VmRSS`` or ``VmHWM``, its highest mark; ``ru_maxrss`` would begin with that of the parent."""
    return int(STATUS.read_text().partition(f"{field}:")[2].split()[0]) * 1024


def main(method: Method, structures: int, samples: int) -> None:
    torch.set_num_threads(1)
    built, data = case(structures, samples)
    score = scorer(method, built, data)
    FORGET.write_text("5")  # the mark of loading; see proc(5)
    loaded = resident("VmRSS")
    prices = score()
    for group in built.structures.groups:
        chosen, _ = prices.cheapest(group.members, CHUNK)
        prices.remove(chosen)
    print(json.dumps({"loaded": loaded, "above": resident("VmHWM") - loaded}))  # noqa: T201


def save(rows: list[Row]) -> None:
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    RAW.write_text(f'{{"rows": [\n{lines}\n]}}\n')


def load() -> list[Row]:
    told = json.loads(RAW.read_text())["rows"]
    return [Row(**{**row, "passes": tuple(row["passes"])}) for row in told]


if __name__ == "__main__":
    main(Method(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
