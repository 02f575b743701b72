"""Distributions as strips: a line from the 5th to the 95th percentile, a box from quartile to quartile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from sosp_core.report.charts.svg import WIDTH, Scale, legend, line, picture, rect, scale_over, shortened, text

ROW, BOX, TOP, GAP, FOOT = 20.0, 10.0, 26.0, 8.0, 26.0
NAMES, NUMBERS = 230.0, 92.0


@dataclass(frozen=True)
class Strip:
    """One distribution.

    Attributes:
        group: Strips of one group are drawn together, under its name.
        kind: ``before`` or ``after``: the class that colours it.
        points: Percentiles 5, 25, 50, 75 and 95.
    """

    group: str
    kind: str
    points: tuple[float, float, float, float, float]


def strips(rows: Sequence[Strip], title: str, show: Callable[[float], str]) -> list[Markup]:
    """One picture for each group, each on a scale of its own from zero: batch 1 beside batch 16."""
    groups = [(name, list(members)) for name, members in groupby(rows, key=lambda r: r.group)]
    return [_picture(name, members, f"{title}, {name}", show) for name, members in groups]


def _picture(name: str, rows: Sequence[Strip], title: str, show: Callable[[float], str]) -> Markup:
    x = scale_over((v for r in rows for v in r.points), NAMES, WIDTH - NUMBERS, zero=True)
    bottom = TOP + len(rows) * ROW + GAP
    parts = [legend(NAMES, 13, [(r.kind, r.kind) for r in rows])]
    for value in x.ticks(5):
        parts.append(line(x(value), TOP - 4, x(value), bottom - GAP, "grid"))
        parts.append(text(x(value), bottom + 8, show(value), anchor="middle", kind="number"))
    parts.append(text(NAMES - 8, TOP + 11, shortened(name, NAMES - 12), anchor="end"))
    parts += [_strip(row, TOP + index * ROW, x, show) for index, row in enumerate(rows)]
    return picture(bottom + FOOT - 10, title, parts)


def _strip(row: Strip, y: float, x: Scale, show: Callable[[float], str]) -> Markup:
    low, first, middle, third, high = row.points
    centre = y + ROW / 2
    tip = f"{row.kind}: median {show(middle)}, half within {show(first)} to {show(third)}"
    return Markup("").join(
        (
            line(x(low), centre, x(high), centre, f"whisker {row.kind}"),
            rect(x(first), centre - BOX / 2, max(x(third) - x(first), 2.0), BOX, row.kind, tip),
            line(x(middle), centre - BOX / 2 - 2, x(middle), centre + BOX / 2 + 2, "median"),
            text(WIDTH - NUMBERS + 8, centre + 4, show(middle), kind="number"),
        )
    )
