"""The network as a drawing, coloured by what went."""

from __future__ import annotations

from sosp_core.report.charts.network import MOST_DRAWN, network
from sosp_core.report.report import Report
from sosp_core.report.section import Section


def graph(report: Report) -> Section | None:
    """Layers and joints in graph order, and the same as a table."""
    if not report.network:
        return None
    facts = {
        "plot": network(report.network),
        "blocks": report.network,
        "left_out": max(0, len(report.network) - MOST_DRAWN),
    }
    return Section(name="graph", title="The network", facts=facts)
