"""Small plots side by side on common axes: one line stands out in each, all others are pale behind it.

So a dozen lines are told apart without a dozen colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import log10

from markupsafe import Markup

from sosp_core.report.charts.svg import WIDTH, Scale, legend, line, picture, tag, text

LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 42.0, 44.0
NAME, GAP, TALL = 18.0, 14.0, 96.0

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        lines: By the class that draws them: ``after`` has round points, ``marked`` hollow squares.
        behind: Lines for comparison.
    """

    name: str
    lines: dict[str, Points]
    behind: Sequence[Points] = ()


@dataclass(frozen=True)
class Axis:
    """A measure from ``low`` to ``high``, and where it has its numbers.

    Attributes:
        log: Equal distances are equal factors.
    """

    name: str
    low: float
    high: float
    ticks: Sequence[float]
    show: Callable[[float], str] = "{:g}".format
    log: bool = False

    def scale(self, start: float, end: float) -> Callable[[float], float]:
        """From values to pixels."""
        if not self.log:
            return Scale(self.low, self.high, start, end)
        straight = Scale(log10(self.low), log10(self.high), start, end)
        return lambda value: straight(log10(value))


@dataclass(frozen=True)
class Strip:
    """A row of panels that share both axes."""

    panels: Sequence[Panel]
    x: Axis
    y: Axis


@dataclass(frozen=True)
class _Frame:
    """Where a panel lies; numbers stand at the left of the first and below those of the last row."""

    x: float
    y: float
    width: float
    first: bool
    last: bool
    tall: float = field(default=TALL)


def grid(strips: Sequence[Strip], title: str, entries: Sequence[tuple[str, str]]) -> Markup:
    """The rows one below the other, the x axis below the last.

    Args:
        strips: The rows; what they share on the x axis is said once.
        title: What the plot shows.
        entries: Of the legend: class and name of lines.
    """
    widest = max(len(strip.panels) for strip in strips)
    width = (WIDTH - LEFT - RIGHT - GAP * (widest - 1)) / widest
    parts, y = [legend(LEFT, 13, entries)], TOP
    for strip in strips:
        last = strip is strips[-1]
        y += NAME if strip.y.name and strip is not strips[0] else 0.0  # which is said above the panels
        for column, panel in enumerate(strip.panels):
            frame = _Frame(LEFT + column * (width + GAP), y, width, column == 0, last)
            parts += _panel(panel, strip, frame)
        y += NAME + TALL + GAP
    parts.append(text(LEFT + (WIDTH - LEFT - RIGHT) / 2, y + 22, strips[-1].x.name, anchor="middle"))
    return picture(y + BOTTOM - GAP, title, parts)


def in_rows(panels: Sequence[Panel], columns: int, x: Axis, y: Axis) -> list[Strip]:
    """Panels in rows of so many, all on the same axes; y is named once."""
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    return [Strip(row, x, y if number == 0 else replace(y, name="")) for number, row in enumerate(rows)]


def _panel(panel: Panel, strip: Strip, frame: _Frame) -> Iterator[Markup]:
    top, bottom = frame.y + NAME, frame.y + NAME + frame.tall
    x = strip.x.scale(frame.x, frame.x + frame.width)
    y = strip.y.scale(bottom, top)
    yield text(frame.x, frame.y + 12, panel.name, kind="name")
    if frame.first and strip.y.name:
        yield text(frame.x, frame.y - 5, strip.y.name, kind="number")
    for value in strip.y.ticks:
        yield line(frame.x, y(value), frame.x + frame.width, y(value), "grid")
        if frame.first:
            yield text(frame.x - 6, y(value) + 4, strip.y.show(value), anchor="end", kind="number")
    for value in strip.x.ticks:
        yield line(x(value), bottom, x(value), bottom + 4, "axis")
        if frame.last:
            yield text(x(value), bottom + 16, strip.x.show(value), anchor="middle", kind="number")
    yield line(frame.x, bottom, frame.x + frame.width, bottom, "axis")
    for points in panel.behind:
        yield _line(points, x, y, "behind")
    for kind, points in panel.lines.items():
        yield _line(points, x, y, kind)
        for a, b in points:
            tip = f"{panel.name}: {strip.y.show(b)} at {strip.x.show(a)}"
            yield _mark(x(a), y(b), kind, tip)


def _line(points: Points, x: Callable[[float], float], y: Callable[[float], float], kind: str) -> Markup:
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return tag("polyline", points=path, class_=f"curve {kind}")


def _mark(x: float, y: float, kind: str, tip: str) -> Markup:
    told = tag("title", tip)
    if kind == "marked":
        return tag("rect", told, x=x - 3, y=y - 3, width=6, height=6, class_="hollow")
    return tag("circle", told, cx=x, cy=y, r=2.5, class_=kind)
