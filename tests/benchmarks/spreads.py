"""Means with their spread, one row a tool and one mark a setting, on a common scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from markupsafe import Markup

from sosp_core.report.charts.svg import WIDTH, Scale, legend, line, picture, scale_over, shortened, tag, text

ROW, TOP, FOOT = 24.0, 30.0, 44.0
NAMES, RIGHT = 270.0, 20.0
#: Classes of the settings, in their order: the first is drawn round, the second as a square.
KINDS = ("after", "marked")
#: How far apart the settings of one row lie.
APART = 7.0


@dataclass(frozen=True)
class Tool:
    """One row.

    Attributes:
        reached: For each setting what each seed reached; empty where none did.
        own: Whether its name stands out.
    """

    name: str
    reached: Sequence[Sequence[float]]
    own: bool = False


def spreads(tools: Sequence[Tool], settings: Sequence[str], axis: str, title: str) -> Markup:
    """The rows in their order: a bar from mean − s to mean + s, a mark at the mean, a dot a seed."""
    ends = [end for tool in tools for values in tool.reached if values for end in (*values, *_ends(values))]
    x = scale_over(ends, NAMES, WIDTH - RIGHT)
    bottom = TOP + ROW * len(tools)
    parts = [legend(NAMES, 13, list(zip(KINDS, settings, strict=True)))]
    for value in x.ticks(8):
        parts.append(line(x(value), TOP, x(value), bottom, "grid"))
        parts.append(text(x(value), bottom + 16, f"{value:g}", anchor="middle", kind="number"))
    for number, tool in enumerate(tools):
        parts += _row(tool, TOP + ROW * (number + 0.5), x)
    parts.append(line(NAMES, bottom, WIDTH - RIGHT, bottom, "axis"))
    parts.append(text(WIDTH - RIGHT, bottom + 36, axis, anchor="end"))
    return picture(bottom + FOOT, title, parts)


def _row(tool: Tool, y: float, x: Scale) -> Iterator[Markup]:
    name = shortened(tool.name, NAMES - 12)
    yield text(NAMES - 8, y + 4, name, anchor="end", kind="name" if tool.own else "")
    for number, (kind, values) in enumerate(zip(KINDS, tool.reached, strict=True)):
        if values:
            yield from _mark(tool.name, values, kind, y + APART * (number - 0.5), x)


def _mark(name: str, values: Sequence[float], kind: str, y: float, x: Scale) -> Iterator[Markup]:
    low, high = _ends(values)
    yield line(x(low), y, x(high), y, f"whisker {kind}")
    for value in values:
        yield tag("circle", cx=x(value), cy=y, r=1.5, class_="seed")
    centre, told = x(mean(values)), tag("title", f"{name}: {mean(values):.3f} ± {_spread(values):.3f}")
    if kind == KINDS[0]:
        yield tag("circle", told, cx=centre, cy=y, r=4.0, class_=kind)
    else:
        yield tag("rect", told, x=centre - 3.5, y=y - 3.5, width=7.0, height=7.0, class_=kind)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return mean(values) - _spread(values), mean(values) + _spread(values)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
