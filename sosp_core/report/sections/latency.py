"""How long both models take, as distributions and as ratios with their intervals."""

from __future__ import annotations

from sosp_core import units
from sosp_core.bench.compare import Comparison
from sosp_core.report.charts.spread import Strip, strips
from sosp_core.report.report import Report
from sosp_core.report.section import Section


def latency(report: Report) -> Section | None:
    """Every setting of the benchmark."""
    if not report.benchmark:
        return None
    rows = [row for c in report.benchmark for row in _strips(c)]
    plots = strips(rows, "Distribution of the latency", units.milliseconds)
    facts = {"plots": plots, "timed": [(setting(c), c) for c in report.benchmark]}
    return Section(name="latency", title="Latency", facts=facts)


def setting(c: Comparison) -> str:
    """The setting of a measurement in words."""
    return f"batch {c.batch_size}, {c.threads} thread{'s' if c.threads > 1 else ''}"


def _strips(c: Comparison) -> list[Strip]:
    both = (("before", c.before), ("after", c.after))
    return [Strip(setting(c), kind, model.spread) for kind, model in both if model.spread is not None]
