"""How wide each layer was, and is."""

from __future__ import annotations

from sosp_core.report.charts.bars import Bar, paired_bars
from sosp_core.report.report import Report
from sosp_core.report.section import Section

#: Beyond so many rows a picture helps nobody; the table has them all.
MOST_DRAWN = 150


def widths(report: Report) -> Section | None:
    """The layers in graph order."""
    if not report.layers:
        return None
    drawn = report.layers[:MOST_DRAWN]
    bars = [Bar(layer.node, layer.before, layer.after) for layer in drawn]
    facts = {
        "plot": paired_bars(bars, "Widths of the layers before and after"),
        "layers": report.layers,
        "left_out": len(report.layers) - len(drawn),
    }
    return Section(name="widths", title="Widths by layer", facts=facts)
