"""Two widths a row: what was there, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sosp_core.report.charts.svg import WIDTH, Scale, legend, picture, rect, shortened, text

ROW, BAR, TOP = 20.0, 13.0, 26.0
NAMES, NUMBERS = 230.0, 110.0


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        mark: Why this row stands out, in a word or two; drawn and said, so not by colour alone.
    """

    name: str
    before: float
    after: float
    mark: str = ""


def paired_bars(
    bars: Sequence[Bar], title: str, *, before: str = "before", after: str = "after", mark: str = ""
) -> Markup:
    """The rows one below the other, each value of ``after`` within its ``before``.

    Args:
        bars: The rows, from top to bottom.
        title: What the plot shows.
        before: Name of the pale bars.
        after: Name of the full bars.
        mark: What a marked row is; named in the legend, if a row is marked.
    """
    widest = max((max(b.before, b.after) for b in bars), default=1.0) or 1.0
    scale = Scale(0.0, widest, NAMES, WIDTH - NUMBERS)
    entries = [("before", before), ("after", after)]
    if any(b.mark for b in bars):
        entries.append(("marked", mark or "marked"))
    parts = [legend(NAMES, 13, entries)]
    for index, bar in enumerate(bars):
        parts.append(_row(bar, TOP + index * ROW, scale))
    return picture(TOP + len(bars) * ROW + 4, title, parts)


def _row(bar: Bar, y: float, scale: Scale) -> Markup:
    told = f"{_number(bar.before)} → {_number(bar.after)}"
    tip = f"{bar.name}: {told}" + (f" ({bar.mark})" if bar.mark else "")
    base = y + BAR - 2
    right = max(scale(bar.before), scale(bar.after)) + 6
    return Markup("").join(
        (
            text(NAMES - 8, base, shortened(bar.name, NAMES - 12), anchor="end"),
            rect(NAMES, y, scale(bar.before) - NAMES, BAR, "before", tip),
            rect(NAMES, y, scale(bar.after) - NAMES, BAR, "marked" if bar.mark else "after", tip),
            text(right, base, told + (" ◆" if bar.mark else ""), kind="number"),
        )
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"
