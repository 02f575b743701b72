"""How the slim model recovered."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from sosp_core.finetune.evaluate import Quality
from sosp_core.report.charts.plane import Axes, Curve, curves
from sosp_core.report.report import Report
from sosp_core.report.section import Section

FEWEST_POINTS = 2


def training(report: Report) -> Section | None:
    """Quality on the held-out samples over the steps; nothing if there was no training."""
    if len(report.training.points) < FEWEST_POINTS:
        return None
    shares = [_curve(report, "agrees with the original", lambda q: q.fidelity)]
    if report.training.points[0].quality.accuracy is not None:
        shares.insert(0, _curve(report, "accuracy", lambda q: q.accuracy))
    losses = [_curve(report, "distance from the original", lambda q: q.divergence)]
    if report.training.points[0].quality.loss is not None:
        losses.append(_curve(report, "loss on labels", lambda q: q.loss))
    plots: list[Markup] = [
        curves(
            shares, Axes(x="step", y="share", show_y="{:.0%}".format), "Quality over the steps of training"
        ),
        curves(losses, Axes(x="step", y="loss"), "Losses over the steps of training"),
    ]
    return Section(name="training", title="Fine-tuning", facts={"plots": plots, "history": report.training})


def _curve(report: Report, name: str, value: Callable[[Quality], float | None]) -> Curve:
    told = [(float(p.step), value(p.quality)) for p in report.training.points]
    return Curve(name, [(step, y) for step, y in told if y is not None])
