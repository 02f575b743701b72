"""How the budget was met: what was predicted, tried and measured."""

from __future__ import annotations

from sosp_core import units
from sosp_core.report.charts.plane import Axes, Dot, frontier
from sosp_core.report.report import Point, Report
from sosp_core.report.section import Section


def budget(report: Report) -> Section | None:
    """A latency, tries under ``max_drop``, models of a sweep, several cuts; None for a plain budget."""
    if not (report.latency_budget or report.tries or report.points or report.steps or report.limits):
        return None
    facts = {
        "latency": report.latency_budget,
        "tries": report.tries,
        "points": report.points,
        "steps": report.steps,
        "metric": report.recipe["prune"]["budget"]["metric"],
        "limits": [m.to_json() for m in report.limits],
        "plot": _plot(report) if report.points else None,
        "count": units.count,
        "ms": units.milliseconds,
        "percent": units.percent,
    }
    return Section(name="budget", title="Budget", facts=facts)


def _plot(report: Report) -> str:
    """Quality against latency; the original is where a share of 1 and no drop meet."""
    quality = "fidelity" if report.quality_before.accuracy is None else "accuracy"
    dots = [Dot("original", 1.0, report.quality_before.accuracy or 1.0)]
    dots += [
        Dot(f"{p.keep:.0%}", 1 / p.benchmark[0].speedup, _quality(p), best=p.best, chosen=p.chosen)
        for p in report.points
    ]
    axes = Axes(
        x="share of the original's latency", y=quality, show_x="{:.2f}".format, show_y="{:.1%}".format
    )
    return frontier(dots, axes, f"{quality.capitalize()} against latency of the models of the sweep")


def _quality(point: Point) -> float:
    accuracy = point.quality.accuracy
    return point.quality.fidelity if accuracy is None else accuracy
