"""What the way into a large model costs: seconds and memory, as a multiple of its file."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from sosp_core.ir.interface import interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.observe import observe_shapes
from sosp_core.structures.discover import discover
from sosp_core.surgery.apply import slim
from tests.zoo.built import random_feeds, random_mask
from tests.zoo.graphs import as_model

LAYERS, WIDTH, HEADS, TOKENS = 14, 768, 12, 64
#: Peak memory over the file's size. 3.3 was measured on a chain of products of 189 MB.
MOST_MEMORY = 4
#: Nodes of a chain; time must grow about in proportion.
CHAINS = (2_500, 5_000, 10_000, 20_000)

TRANSFORMER = f"""
import io, logging, sys, torch
from torch import nn
options = dict(batch_first=True, norm_first=True, activation="gelu")
layer = nn.TransformerEncoderLayer({WIDTH}, {HEADS}, 4 * {WIDTH}, **options)
net = nn.TransformerEncoder(layer, {LAYERS}, enable_nested_tensor=False).eval()
logging.getLogger("torch.onnx").setLevel(logging.ERROR)
program = torch.onnx.export(net, (torch.zeros(1, {TOKENS}, {WIDTH}),), dynamo=True, verbose=False)
program.save(sys.argv[1])
print(sum(p.numel() for p in net.parameters()))
"""

ONE_WAY = """
import json, resource, sys, time
from pathlib import Path
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.interface import interface
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import serialize
from sosp_core.structures.discover import discover
from sosp_core.surgery.apply import slim
from tests.zoo.built import random_feeds, random_mask
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, times, started = peak(), {}, time.perf_counter()
def tick(name):
    global started
    now = time.perf_counter()
    times[name], started = now - started, now
model = normalize(load_model(Path(sys.argv[1])))
tick("front door")
shapes = observe_shapes(model, random_feeds(interface(model).inputs, 1, 0))
tick("shapes")
structures = discover(model, shapes, ())
tick("structures")
content = serialize(slim(model, structures, random_mask(structures, 0)))
tick("surgery")
print(json.dumps({"times": times, "before": before, "peak": peak(), "structures": structures.count}))
"""


def python(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_a_hundred_million_parameters(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "transformer.onnx"
    parameters = int(python(TRANSFORMER, str(path)))
    size = sum(f.stat().st_size for f in tmp_path.iterdir())
    told = json.loads(python(ONE_WAY, str(path)))
    seconds, grown = sum(told["times"].values()), (told["peak"] - told["before"]) / size
    with capsys.disabled():
        stages = ", ".join(f"{k} {v:.1f} s" for k, v in told["times"].items())
        print(  # noqa: T201
            f"\n{parameters / 1e6:.0f} M parameters, {size / 1e6:.0f} MB, {told['structures']} structures: "
            f"{seconds:.1f} s ({stages}), {grown:.1f} x the file in memory"
        )
    assert grown < MOST_MEMORY


@pytest.mark.benchmark
@pytest.mark.timeout(1200)
def test_time_grows_with_the_number_of_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = []
    for nodes in CHAINS:
        content = as_model(_chain(nodes // 2), 17).SerializeToString()
        started = time.perf_counter()
        model = normalize(load_model(content))
        shapes = observe_shapes(model, random_feeds(interface(model).inputs, 1, 0))
        structures = discover(model, shapes, ())
        slim(model, structures, random_mask(structures, 0))
        seconds.append(time.perf_counter() - started)
    growth = (seconds[-1] / seconds[0]) / (CHAINS[-1] / CHAINS[0])
    with capsys.disabled():
        told = ", ".join(f"{n}: {s:.1f} s" for n, s in zip(CHAINS, seconds, strict=True))
        print(f"\nnodes: {told}; {growth:.2f} x proportional")  # noqa: T201
    assert growth < 2


def _chain(layers: int) -> str:
    weights = ", ".join(f"float[4,4] w{i}" for i in range(layers))
    body = " ".join(
        f"a{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i}) r{i} = Relu(a{i})" for i in range(layers - 1)
    )
    return (
        f"(float[N,4] x) => (float[N,4] y) <{weights}> {{ {body} y = MatMul(r{layers - 2}, w{layers - 1}) }}"
    )
