"""Geometry of the pictures: numbers in, coordinates of an SVG out. Templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sosp_core import units


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One width before and after; ``kept`` is the share of ``before`` that stays."""

    name: str
    before: int
    after: int
    scale: float
    kept: float

    @property
    def note(self) -> str:
        """What it says in words."""
        return "kept whole" if self.before == self.after else f"{self.after} of {self.before} stay"


def bars(widths: Iterable[tuple[str, int, int]]) -> list[Bar]:
    """Bars on one scale; the longest is 100 wide."""
    rows = list(widths)
    longest = max((before for _, before, _ in rows), default=1)
    return [
        Bar(name=n, before=b, after=a, scale=100 * b / longest, kept=100 * a / longest) for n, b, a in rows
    ]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Median and 95th percentile of one model's latency, as positions from 0 to 100."""

    label: str
    median: float
    p95: float
    text: str


def spans(sides: Sequence[tuple[str, float, float]]) -> list[Span]:
    """Spans of ``(label, median, p95)`` in seconds on one scale that begins at 0."""
    longest = max((p95 for _, _, p95 in sides), default=0.0) or 1.0
    return [
        Span(
            label=label,
            median=100 * median / longest,
            p95=100 * p95 / longest,
            text=units.milliseconds(median),
        )
        for label, median, p95 in sides
    ]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point of a scatter; ``x`` and ``y`` in the picture, ``label`` beside it."""

    x: float
    y: float
    label: str
    label_y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A scatter or a curve in a picture of ``width`` by ``height``."""

    dots: list[Dot]
    xs: list[Tick]
    ys: list[Tick]
    width: float = 640
    height: float = 300
    left: float = 76
    bottom: float = 40

    @property
    def line(self) -> str:
        """The points joined, for a polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


MARGIN = 24.0
LINE = 22.0


def plane(points: Sequence[tuple[str, float, float, str]], *, x_unit: str, y_percent: bool) -> Plane:
    """Points ``(label, x, y, text)`` on axes that just hold them."""
    xs, ys = [x for _, x, _, _ in points], [y for _, _, y, _ in points]
    low_x, high_x = _range(xs)
    low_y, high_y = _range(ys, 1.0 if y_percent else None)
    empty = Plane(dots=[], xs=[], ys=[])
    left, right = empty.left, empty.width - MARGIN
    top, bottom = MARGIN, empty.height - empty.bottom

    def at_x(x: float) -> float:
        return left + (x - low_x) / (high_x - low_x) * (right - left)

    def at_y(y: float) -> float:
        return bottom - (y - low_y) / (high_y - low_y) * (bottom - top)

    return Plane(
        dots=_dots([(label, at_x(x), at_y(y), text) for label, x, y, text in points]),
        xs=[Tick(at=at_x(v), text=f"{v:.3g}{x_unit}") for v in ticks(low_x, high_x)],
        ys=[
            Tick(at=at_y(v), text=units.percent(v) if y_percent else f"{v:.3g}") for v in ticks(low_y, high_y)
        ],
    )


def _dots(placed: Sequence[tuple[str, float, float, str]]) -> list[Dot]:
    """Dots whose labels lie below those of earlier dots that are close by."""
    dots = []
    for index, (label, x, y, text) in enumerate(placed):
        close = sum(abs(x - px) < LINE and abs(y - py) < LINE for _, px, py, _ in placed[:index])
        dots.append(Dot(x=x, y=y, label=label, label_y=y + 5 + close * 0.8 * LINE, text=text))
    return dots


def _range(values: Sequence[float], most: float | None = None) -> tuple[float, float]:
    """What an axis shows: the values and a little air, which never crosses 0 or ``most``."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    air = (high - low) * 0.12 or abs(high) * 0.05 or 1.0
    top = high + air if most is None or high > most else min(high + air, most)
    return (max(low - air, 0.0) if low >= 0 else low - air), top


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values within a range, about as many as asked for: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
