"""A table of pieces against what the whole slim model counts; no time is asserted, only arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sosp_core.cost.latency import FINEST, WORTH, LatencyModel, Table
from sosp_core.cost.segments import Anatomy, Segment
from sosp_core.runtime.session import open_session, run, to_proto
from sosp_core.surgery.apply import slim
from tests.core.select.test_greedy import often, some
from tests.oracles import counting
from tests.zoo.built import Built, masks
from tests.zoo.graphs import CASES, GRAPHS, Graph, build

#: All of their multiply-accumulates are in nodes with weights.
WEIGHTED = ("conv_chain", "residual_option_b", "dense_concat", "unet", "channel_split_and_shuffle")


def anatomy_of(built: Built) -> Anatomy:
    return Anatomy(to_proto(built.model), built.structures, built.shapes)


def work(anatomy: Anatomy, segment: Segment, widths: Sequence[int]) -> float:
    """A clock that counts instead: multiply-accumulates of the piece as it would be run."""
    content, feeds = anatomy.piece(segment, dict(zip(segment.axes, widths, strict=True)))
    model = onnx.load_from_string(content)
    return float(counting.multiply_accumulates(model, feeds))


@pytest.mark.parametrize("name", WEIGHTED)
@some
@given(data=st.data())
def test_pieces_add_up_to_the_slim_model(name: str, data: st.DataObject) -> None:
    built = build(CASES[name])
    found, anatomy = built.structures, anatomy_of(built)
    proto = to_proto(built.model)
    whole = counting.multiply_accumulates(proto, built.feeds)
    model = LatencyModel(anatomy, found.groups, lambda s, w: work(anatomy, s, w) * 1e-9, whole_s=whole * 1e-9)
    alive = data.draw(masks(found))
    cut = to_proto(slim(built.model, found, alive))
    assert model.total(model.kept(alive)) == counting.multiply_accumulates(cut, built.feeds)
    for number, group in enumerate(found.groups):
        left = group.members[alive[group.members]]
        if len(left) == 1:  # no plan takes a group's last structure
            continue
        fewer = alive.copy()
        fewer[left[:1]] = False
        saved = model.total(model.kept(alive)) - model.total(model.kept(fewer))
        assert model.gain(model.kept(alive), number, 1) == pytest.approx(saved, abs=1)


def test_a_piece_without_a_width_takes_no_time() -> None:
    """Such as those of a branch that is gone, whatever is left of what they were fused to."""
    built = build(CASES["residual_option_b"])
    found, anatomy = built.structures, anatomy_of(built)
    model = LatencyModel(anatomy, found.groups, lambda s, w: work(anatomy, s, w) * 1e-9, whole_s=1e-3)
    kept = model.kept(found.all_alive())
    for number, n in enumerate(kept.tolist()):
        gone = kept.copy()
        gone[number] = 0
        assert 0 <= model.total(gone) < model.total(kept)
        assert model.gain(kept, number, n) == pytest.approx(model.total(kept) - model.total(gone), abs=1)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.name)
def test_every_piece_runs_at_the_widths_of_a_plan(graph: Graph) -> None:
    built = build(graph)
    anatomy = anatomy_of(built)
    rng = np.random.default_rng(0)
    kept = np.array([rng.integers(1, len(g.members) + 1) for g in built.structures.groups], dtype=np.int64)
    full = np.array(anatomy.axes.full, dtype=np.int64)
    for widths in (full, anatomy.axes.widths(kept)):
        for segment in anatomy.segments:
            content, feeds = anatomy.piece(segment, {a: int(widths[a]) for a in segment.axes})
            assert all(np.size(y) for y in run(open_session(content), feeds).values())
    timed = [i for s in anatomy.segments for i in s.nodes]
    assert len(timed) == len(set(timed))
    assert len(timed) + len(anatomy.rest) == len(to_proto(built.model).graph.node)


def piece(*axes: int) -> Segment:
    return Segment(nodes=(), axes=axes, signature="s")


@often
@given(full=st.integers(FINEST + 1, 2000), a=st.floats(0, 2), b=st.floats(0, 2), data=st.data())
def test_between_grid_points_a_table_is_linear(full: int, a: float, b: float, data: st.DataObject) -> None:
    table = Table(clock=lambda s, w: a + b * w[0])
    width = data.draw(st.integers(8, full))
    assert table.seconds(piece(0), [full], [width]) == pytest.approx(a + b * width)
    assert len(table.entries) <= 2


def test_when_time_is_up_entries_are_guessed_from_single_axes() -> None:
    asked: list[tuple[int, ...]] = []

    def clock(segment: Segment, widths: Sequence[int]) -> float:
        asked.append(tuple(widths))
        return float(np.prod(widths))

    table = Table(clock=clock)
    full = [8, 6]
    for widths in ([8, 6], [4, 6], [8, 3]):
        table.seconds(piece(0, 1), full, widths)
    table.limit_s = 0.0
    assert table.seconds(piece(0, 1), full, [4, 3]) == pytest.approx(12)
    assert (4, 3) not in asked
    assert table.seconds(piece(0, 1), full, [2, 3]) == pytest.approx(6), (
        "an unknown axis counts in proportion"
    )


@often
@given(seconds=st.lists(st.integers(1, 40), min_size=12, max_size=12))
def test_widths_worth_having_are_those_no_wider_one_beats(seconds: list[int]) -> None:
    built = build(CASES["conv_chain"])
    anatomy = anatomy_of(built)
    widest = len(built.structures.groups[0].members)
    model = LatencyModel(
        anatomy,
        built.structures.groups,
        lambda s, w: seconds[sum(w) % len(seconds)] * 1e-3,
        whole_s=1.0,
    )
    curve = model.curve(0, range(1, widest))
    time = dict(zip(curve.kept, curve.seconds, strict=True))
    assert curve.worth[0] == widest
    for k in curve.kept:
        quickest = min(time[w] for w in curve.kept if w >= k)
        if k in curve.worth:
            assert time[k] == quickest, "a wider one is quicker"
        else:
            wider = min(time[w] for w in curve.worth if w > k)
            assert time[k] >= wider * (1 - WORTH), "a narrower one was worth having"
