"""Plots are well-formed, to scale, and safe whatever a model calls its layers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sosp_core.report.charts.bars import Bar, paired_bars
from sosp_core.report.charts.plane import Axes, Curve, Dot, curves, frontier
from sosp_core.report.charts.spread import Strip, strips
from sosp_core.report.charts.svg import Scale, scale_over, shortened

SVG = "{http://www.w3.org/2000/svg}"
AXES = Axes(x="milliseconds", y="accuracy")


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def widths(root: ElementTree.Element, kind: str) -> list[float]:
    drawn = [r for r in root.iter(f"{SVG}rect") if r.get("class") == kind]
    return [float(r.get("width", "nan")) for r in drawn][1:]  # the first is the legend's


def test_bars_are_to_scale_and_tell_what_is_marked() -> None:
    root = parsed(
        paired_bars([Bar("a", 64, 16), Bar("b", 32, 32, mark="limits")], "Widths", mark="bottleneck")
    )
    first, second = widths(root, "before")
    assert first == pytest.approx(2 * second, rel=1e-3)
    assert widths(root, "after")[0] == pytest.approx(first / 4, rel=1e-3)
    assert widths(root, "marked")[0] == pytest.approx(second, rel=1e-3)
    said = " ".join(root.itertext())
    assert "bottleneck" in said
    assert "limits" in said
    assert "32 → 32 ◆" in said


@given(name=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_a_name_is_text_and_never_markup(name: str) -> None:
    root = parsed(paired_bars([Bar(name + '<script>"&', 3, 2)], name))
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert root.get("aria-label") == name or not name.strip()


def test_a_curve_goes_through_its_points() -> None:
    root = parsed(curves([Curve("accuracy", [(0, 0.2), (10, 0.6), (20, 1.0)])], AXES, "Quality"))
    (path,) = (e.get("points", "") for e in root.iter(f"{SVG}polyline"))
    points = [tuple(map(float, pair.split(","))) for pair in path.split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y2 < y0, "more is higher up"


def test_a_frontier_joins_the_best_from_left_to_right_and_rings_the_one_taken() -> None:
    dots = [Dot("c", 3, 0.9, best=True), Dot("a", 1, 0.7, best=True, chosen=True), Dot("b", 2, 0.6)]
    root = parsed(frontier(dots, AXES, "Choices"))
    (path,) = (e.get("points", "") for e in root.iter(f"{SVG}polyline"))
    xs = [float(pair.partition(",")[0]) for pair in path.split()]
    assert len(xs) == 2
    assert xs == sorted(xs)
    assert [float(e.get("cx", "")) for e in root.iter(f"{SVG}circle") if e.get("class") == "ring"] == [
        pytest.approx(xs[0], abs=0.1)
    ]


def test_distributions_of_one_setting_share_a_scale_and_settings_do_not() -> None:
    def rows(group: str, unit: float) -> list[Strip]:
        low = tuple(unit * n for n in (1, 2, 3, 4, 5))
        high = tuple(2 * unit * n for n in (1, 2, 3, 4, 5))
        return [Strip(group, "before", high), Strip(group, "after", low)]  # type: ignore[arg-type]

    small, large = strips([*rows("batch 1", 1.0), *rows("batch 16", 100.0)], "Latency", "{:g}".format)
    for svg in (small, large):
        root = parsed(svg)
        assert widths(root, "before")[0] == pytest.approx(2 * widths(root, "after")[0], rel=0.01)
    assert widths(parsed(small), "after") == widths(parsed(large), "after")


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
)
def test_ticks_are_few_round_and_within(low: float, span: float) -> None:
    scale = Scale(low, low + span, 0.0, 100.0)
    ticks = scale.ticks(5)
    assert 1 <= len(ticks) <= 7
    assert all(-1e-3 <= scale(t) <= 100.001 for t in ticks)


@pytest.mark.parametrize("values", [[], [3.0], [float("nan")], [0.0, 0.0]])
def test_a_scale_has_room_whatever_it_is_made_of(values: list[float]) -> None:
    scale = scale_over(values, 0.0, 100.0)
    assert scale.high > scale.low


def test_a_long_name_keeps_its_end() -> None:
    name = "/encoder/layers.11/attention/output/dense/MatMul"
    short = shortened(name, 120)
    assert len(short) * 6.6 <= 120
    assert short.endswith("MatMul")
    assert short.startswith("/enc")
