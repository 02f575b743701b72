"""The drawing of a network: what it folds, what it joins, and that it stays true at any size."""

from __future__ import annotations

from dataclasses import asdict
from xml.etree import ElementTree

import numpy as np
import pytest

from sosp_core.report.block import Block, Fate
from sosp_core.report.charts.network import MOST_DRAWN, network
from sosp_core.report.topology import topology
from sosp_core.select.plan import layer_cuts
from tests.core.report.test_charts import SVG, parsed
from tests.zoo.built import prepare
from tests.zoo.graphs import GRAPHS, Graph, as_model, build

RESIDUAL = """(float[N,3,8,8] x) => (float[N,2,8,8] y)
<float[4,3,1,1] a, float[4,4,1,1] b, float[4,4,1,1] c, float[2,4,1,1] head>
{ p = Conv(x, a)  r = Relu(p)  q = Conv(r, b)  s = Sigmoid(q)  g = Mul(q, s)
  t = Conv(g, c)  u = Add(t, r)  v = Relu(u)  y = Conv(v, head) }"""


def blocks_of(text: str, protect: tuple[str, ...] = ()) -> tuple[Block, ...]:
    built = prepare(as_model(text, 17).SerializeToString(), protect)
    return topology(built.model, built.structures, layer_cuts(built.structures, built.structures.all_alive()))


def test_what_reads_one_layer_alone_belongs_to_it_and_joints_stand_alone() -> None:
    blocks = blocks_of(RESIDUAL)
    assert [(b.op, *b.also) for b in blocks] == [
        ("Input",),
        ("Conv", "Relu"),
        ("Conv", "Sigmoid", "Mul"),
        ("Conv",),
        ("Add", "Relu"),
        ("Conv",),
        ("Output",),
    ]
    assert [b.reads for b in blocks] == [(), (0,), (1,), (2,), (1, 3), (4,), (5,)]
    assert [b.fate for b in blocks][1:6] == [Fate.WHOLE, Fate.WHOLE, Fate.WHOLE, Fate.PLAIN, Fate.FIXED]
    assert "reaches the output 'y'" in blocks[5].note


def test_what_is_protected_says_so() -> None:
    second = blocks_of(RESIDUAL, protect=(blocks_of(RESIDUAL)[2].name,))[2]
    assert (second.fate, second.width) == (Fate.FIXED, "4 → 4")
    assert "protected by the recipe" in second.note


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_any_graph_is_drawn_with_what_went(graph: Graph) -> None:
    built = build(graph)
    alive = np.random.default_rng(0).random(built.structures.count) < 0.5
    cuts = layer_cuts(built.structures, alive)
    blocks = topology(built.model, built.structures, cuts)
    assert {(b.name, b.before, b.after) for b in blocks} >= {(c.node, c.before, c.after) for c in cuts}
    assert all(place < row for row, block in enumerate(blocks) for place in block.reads)
    assert [Block.of({**asdict(b), "fate": str(b.fate)}) for b in blocks] == list(blocks)
    parsed(network(blocks))


def tracks(root: ElementTree.Element) -> list[tuple[float, float, float]]:
    """Upright parts of the tracks: x, top, bottom."""
    found = []
    for element in root.iter():
        if element.get("class") != "track":
            continue
        if element.tag == f"{SVG}line":
            found.append(tuple(float(element.get(k, "nan")) for k in ("x1", "y1", "y2")))
        else:
            x, y = (element.get("d") or "").split()[0].removeprefix("M").split(",")
            found.append((float(x), float(y), float((element.get("d") or "").split()[1].removeprefix("V"))))
    return found


def dense(count: int) -> list[Block]:
    """Every block reads the two before it and one far away."""
    reads = [tuple(sorted({max(0, n - 1), max(0, n - 2), n // 2})) if n else () for n in range(count)]
    return [
        Block(name=f"layer.{n}", op="Conv", reads=r, before=64, after=n % 65, fate=Fate.CUT)
        for n, r in enumerate(reads)
    ]


@pytest.mark.parametrize("count", [20, 1000])
def test_no_track_runs_through_the_mark_of_a_stranger(count: int) -> None:
    svg = network(dense(count))
    assert len(svg) < 1500 * count
    root = parsed(svg)
    stops = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "stop ground"]
    marks = [(float(r.get("x", "nan")) + 7, float(r.get("y", "nan")) + 7) for r in stops]
    assert len(marks) == count
    by_lane: dict[float, list[float]] = {}
    for x, y in marks:
        by_lane.setdefault(round(x, 1), []).append(y)
    for x, top, bottom in tracks(root):
        between = [y for y in by_lane.get(round(x, 1), []) if top < y < bottom]
        assert between == [], (x, top, bottom)


def test_a_picture_has_an_end_and_colour_is_never_all_there_is() -> None:
    assert network(dense(MOST_DRAWN + 50)).count('class="stop ground"') == MOST_DRAWN
    rows = [
        Block(name="a", op="Conv", before=8, after=8, fate=Fate.FIXED, note="it is protected"),
        Block(name="b", op="Conv", reads=(0,), before=8, after=7, fate=Fate.BOTTLENECK),
        Block(name="c", op="Conv", reads=(1,), before=8, after=12, fate=Fate.WIDER),
        Block(name="d", op="Conv", reads=(2,), before=8, after=8, fate=Fate.WHOLE),
    ]
    said = " ".join(parsed(network(rows)).itertext())
    for word in ("stays", "it is protected", "bottleneck", "wider", "whole", "8 → 12"):
        assert word in said
