"""Mode ``expand-prune``: widen the bottlenecks, train, and prune back to the budget.

The budget is the original's: the slim network has as much of the metric as pruning the original
would have left, but chosen from a network without bottlenecks.
"""

from __future__ import annotations

from dataclasses import replace

from sosp_core.config import Recipe
from sosp_core.cost.model import measure
from sosp_core.modes.assemble import assemble
from sosp_core.modes.begin import begin
from sosp_core.modes.finish import finish
from sosp_core.modes.outcome import Outcome, save_files
from sosp_core.modes.part import Part
from sosp_core.modes.run import Run, Source
from sosp_core.report.expansion import EXPANDED, Expansion, Variant
from sosp_core.report.report import Checks
from sosp_core.select.plan import LayerCut
from sosp_core.stages.choose import Choice, choose, offer
from sosp_core.stages.expand import as_subject, examine, train_wide, unlabelled, widen_bottlenecks
from sosp_core.stages.export import export
from sosp_core.stages.judge import benchmark, judge, reservations
from sosp_core.stages.recover import deliver, size_of, write
from sosp_core.structures.structures import Structures

#: Shares of stage ``score``: where the diagnosis ends, and the training of the wide network.
DIAGNOSED, EXPANDED_BY = 0.15, 0.7


def expand_prune(run: Run, source: Source) -> Outcome:
    """Widen what limits the network before anything is taken from it."""
    progress, device = run.progress, run.device
    begun = begin(run, source)
    subject, choice, kept = begun.subject, begun.choice, begun.kept
    with run.stage("score"):
        found = examine(subject, choice, Part(progress, "score", 0.0, DIAGNOSED, "bottlenecks"), device)
        wide = widen_bottlenecks(subject, choice.structures, found)
        recipe = _budgeted(run.recipe, choice)
        offer(as_subject(subject, wide.model, recipe))  # refuses the budget before anything is trained for it
        learning = Part(progress, "score", DIAGNOSED, EXPANDED_BY, "widened network")
        expanded = train_wide(subject, wide, learning, run.devices, kept.part("wide"))
        middle, _ = write(subject, expanded)
        between = judge(subject, wide.model, middle)
        bigger = as_subject(subject, middle, recipe)
        again = offer(bigger)
        plan = choose(bigger, again, Part(progress, "score", EXPANDED_BY, 1.0, "pruning back"), device)
    done = finish(run, bigger, again, plan, kept, against=subject)
    with run.stage("benchmark"):
        timed = benchmark(subject, done.content, progress)
    with run.stage("export"):
        exports = export(subject, done.content, progress)
    with run.stage("report"):
        content = deliver(subject, done.content)
        variant = Variant(
            name=EXPANDED,
            costs=plan.before,
            file=size_of(middle),
            quality=between.after,
            benchmark=(),
            layers=wide.layers(choice.structures),
            training=expanded.history,
            error=wide.error,
        )
        report = assemble(
            *(run, subject),
            before=measure(choice.structures, choice.structures.all_alive()),
            after=plan.after,
            layers=_across(choice.structures, plan.layers),
            structures=choice.structures,
            refusals=(*choice.structures.refusals, *wide.refusals.values()),
            content=content,
            verdict=done.verdict,
            timed=timed,
            exports=exports,
            history=done.history,
            checks=Checks(
                conversion=begun.subject.conversion,
                surgery=max(done.surgery, wide.error),
                write_back=done.write_back,
            ),
            warnings=(*unlabelled(subject), *reservations(timed), *done.missed),
            expansion=Expansion(
                diagnosis=found,
                factor=run.recipe.expand.factor,
                labelled=subject.task.labelled,
                variants=(variant,),
            ),
        )
        report = replace(report, limits=choice.meant)
        told = {**plan.to_json(again.structures), "widened": wide.plan(choice.structures)}
        return save_files(run.out, content, told, report, exports.files)


def _budgeted(recipe: Recipe, choice: Choice) -> Recipe:
    """The same recipe, its budget the amount that it means for the original."""
    return replace(recipe, prune=replace(recipe.prune, budget=recipe.prune.budget.of(choice.target)))


def _across(original: Structures, slim: tuple[LayerCut, ...]) -> tuple[LayerCut, ...]:
    """Widths from the original to the slim network, not from the wide one between them."""
    before = {layer.node: len(layer.members) for layer in original.layers}
    return tuple(replace(layer, before=before.get(layer.node, layer.before)) for layer in slim)
