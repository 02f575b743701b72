"""Mode ``sweep``: several budgets in one job, a slim model for each, and the frontier among them.

Model, conversion, structures and scores are shared; fine-tuning, checks and timing are each
model's own. ``model.onnx`` is the quickest that loses at most a point, see ``select.frontier``.
"""

from __future__ import annotations

from sosp_core.bench.compare import Comparison
from sosp_core.modes.begin import begin
from sosp_core.modes.finish import Besides, Finished, finish, publish
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.part import one_model
from sosp_core.modes.reach import reach_on
from sosp_core.modes.run import Run, Source
from sosp_core.report.report import Point
from sosp_core.select.frontier import recommended, unbeaten
from sosp_core.stages.judge import benchmark
from sosp_core.stages.recover import Content, deliver, size_of
from sosp_core.stages.trail import Trail

Timed = tuple[Comparison, ...]


def sweep(run: Run, source: Source) -> Outcome:
    """Prune to each share of the recipe, mildest first.

    Cost: a fine-tuning and a benchmark for each.
    """
    begun = begin(run, source)
    subject, choice, kept = begun.subject, begun.choice, begun.kept
    trail = Trail(subject, choice, run.progress, run.device)
    shares = sorted(run.recipe.prune.sweep, reverse=True)
    made: list[Finished] = []
    timed: list[Timed] = []
    for number, share in enumerate(shares):
        own, part = one_model(run, number, len(shares)), kept.part(f"model{number + 1}")
        plan = reach_on(own, subject, choice, trail, int(choice.total * share), part)
        made.append(finish(own, subject, choice, plan, part))
        with own.stage("benchmark"):
            timed.append(benchmark(subject, made[-1].content, own.progress))
    files = [deliver(subject, f.content) for f in made]
    points, chosen = _points(shares, made, timed, files)
    models = {p.model: content for p, content in zip(points, files, strict=True)}
    besides = Besides(points=points, models=models, timed=timed[chosen])
    return publish(run, subject, choice, made[chosen], besides)


def _points(
    shares: list[float], made: list[Finished], timed: list[Timed], files: list[Content]
) -> tuple[tuple[Point, ...], int]:
    """What each model is, and which one stands for all."""
    times = [1 / t[0].speedup for t in timed]
    drops = [f.drop for f in made]
    best = unbeaten(times, [-d for d in drops])
    chosen = recommended(times, drops)
    points = (
        Point(
            model=f"model-{i + 1}.onnx",
            keep=share,
            costs=done.plan.after,
            file_bytes=size_of(files[i]),
            quality=done.verdict.after,
            drop=done.drop,
            benchmark=speed,
            latency_budget=done.plan.latency,
            best=best[i],
            chosen=i == chosen,
        )
        for i, (share, done, speed) in enumerate(zip(shares, made, timed, strict=True))
    )
    return tuple(points), chosen
