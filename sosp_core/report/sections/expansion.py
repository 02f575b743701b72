"""Where the network is narrow, and what it was worth to widen it there."""

from __future__ import annotations

from typing import Any

from sosp_core import units
from sosp_core.config import Metric
from sosp_core.finetune.evaluate import Quality
from sosp_core.report.charts.bars import Bar, paired_bars
from sosp_core.report.expansion import BOTTLENECKS, EXPANDED, UNIFORM
from sosp_core.report.report import Report
from sosp_core.report.section import Section

NAMES = {
    BOTTLENECKS: "Bottlenecks wider",
    UNIFORM: "All layers wider alike",
    EXPANDED: "Bottlenecks wider, before pruning back",
}


def expansion(report: Report) -> Section | None:
    """Shares by layer with the bottlenecks marked, and every network beside the original."""
    if report.expansion is None:
        return None
    found, variants = report.expansion.diagnosis, report.expansion.variants
    bars = [
        Bar(
            group.name,
            round(100 * group.expected / group.structures, 1),
            round(100 * group.share, 1),
            mark="bottleneck" if group.bottleneck else "",
        )
        for group in found.groups
    ]
    rows = [_row("Original", report.costs_before, report.quality_before)]
    rows += [_row(NAMES[v.name], v.costs, v.quality) for v in variants]
    if variants[0].name == EXPANDED:
        rows.append(_row("Pruned back", report.costs_after, report.quality_after))
    facts = {
        "plot": paired_bars(
            bars,
            "Share of each layer that a global pruning removed, in per cent",
            before="expected",
            after="removed",
            mark="removed from a bottleneck",
        ),
        "share": found.share,
        "threshold": found.threshold,
        "factor": report.expansion.factor,
        "labelled": report.expansion.labelled,
        "groups": found.groups,
        "rows": rows,
        "columns": [NAMES[v.name] for v in variants],
        "layers": list(zip(*(v.layers for v in variants), strict=True)),
    }
    return Section(name="expansion", title="Where the network is narrow", facts=facts)


def _row(name: str, costs: Any, quality: Quality) -> tuple[str, ...]:
    return (
        name,
        units.count(costs[Metric.PARAMS]),
        units.count(costs[Metric.MACS]),
        "-" if quality.accuracy is None else units.percent(quality.accuracy),
        units.percent(quality.fidelity),
        f"{quality.divergence:.4f}",
    )
