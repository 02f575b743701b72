"""Plots over two axes: curves over steps, and points such as a frontier of choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sosp_core.report.charts.svg import WIDTH, Scale, legend, line, picture, scale_over, tag, text

LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 26.0, 40.0
HEIGHT = 260.0
#: Classes of the style, in the order in which curves take them.
KINDS = ("after", "before", "marked")

Format = Callable[[float], str]


@dataclass(frozen=True)
class Curve:
    """Points ``(x, y)`` joined in their order."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Dot:
    """One choice.

    Attributes:
        best: On the frontier: joined to its neighbours there by a line.
        chosen: The one that was taken.
    """

    name: str
    x: float
    y: float
    best: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Axes:
    """What the axes measure, and how their numbers are written."""

    x: str
    y: str
    show_x: Format = "{:g}".format
    show_y: Format = "{:g}".format


def curves(lines: Sequence[Curve], axes: Axes, title: str) -> Markup:
    """Curves over a common pair of axes."""
    points = [p for curve in lines for p in curve.points]
    x, y = _scales(points)
    parts = [_frame(x, y, axes)]
    for curve, kind in zip(lines, KINDS, strict=False):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve.points)
        parts.append(tag("polyline", points=path, class_=f"curve {kind}"))
        parts += [_dot(x(a), y(b), kind, f"{curve.name}: {axes.show_y(b)}", 2.5) for a, b in curve.points]
    parts.append(legend(LEFT, 13, [(kind, c.name) for c, kind in zip(lines, KINDS, strict=False)]))
    return picture(HEIGHT, title, parts)


def frontier(dots: Sequence[Dot], axes: Axes, title: str) -> Markup:
    """Choices as points; those no other choice beats are joined, and the one taken is ringed."""
    x, y = _scales([(d.x, d.y) for d in dots])
    best = sorted((d for d in dots if d.best), key=lambda d: d.x)
    parts = [_frame(x, y, axes)]
    path = " ".join(f"{x(d.x):.1f},{y(d.y):.1f}" for d in best)
    parts.append(tag("polyline", points=path, class_="curve after"))
    for dot in dots:
        tip = f"{dot.name}: {axes.x} {axes.show_x(dot.x)}, {axes.y} {axes.show_y(dot.y)}"
        parts.append(_dot(x(dot.x), y(dot.y), "after" if dot.best else "before", tip, 5.0))
        if dot.chosen:
            parts.append(tag("circle", cx=x(dot.x), cy=y(dot.y), r=9.0, class_="ring"))
        parts.append(text(x(dot.x) + 9, y(dot.y) - 7, dot.name, kind="number"))
    entries = [("after", "not beaten by another"), ("before", "beaten")]
    parts.append(legend(LEFT, 13, entries))
    return picture(HEIGHT, title, parts)


def _scales(points: Sequence[tuple[float, float]]) -> tuple[Scale, Scale]:
    x = scale_over((p[0] for p in points), LEFT, WIDTH - RIGHT)
    y = scale_over((p[1] for p in points), HEIGHT - BOTTOM, TOP)
    return x, y


def _frame(x: Scale, y: Scale, axes: Axes) -> Markup:
    parts = []
    for value in x.ticks(8):
        parts.append(text(x(value), y.start + 16, axes.show_x(value), anchor="middle", kind="number"))
        parts.append(line(x(value), y.start, x(value), y.start + 4, "axis"))
    for value in y.ticks(5):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(x.start - 6, y(value) + 4, axes.show_y(value), anchor="end", kind="number"))
    parts.append(line(x.start, y.start, x.end, y.start, "axis"))
    parts.append(text((x.start + x.end) / 2, HEIGHT - 6, axes.x, anchor="middle"))
    parts.append(text(x.end, 13, axes.y, anchor="end"))
    return Markup("").join(parts)


def _dot(x: float, y: float, kind: str, tip: str, radius: float) -> Markup:
    return tag("circle", tag("title", tip), cx=x, cy=y, r=radius, class_=kind)
