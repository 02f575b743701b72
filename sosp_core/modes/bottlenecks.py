"""Mode ``bottlenecks``: widen the layers that limit a network, and show that it was them.

The same parameters are also given to all layers alike, and trained with the same settings: what
the bottlenecks gain beyond that is what finding them was worth.
"""

from __future__ import annotations

from dataclasses import replace

from sosp_core.bench.compare import Comparison
from sosp_core.bottleneck.detect import Diagnosis
from sosp_core.config import Metric
from sosp_core.cost.model import measure
from sosp_core.modes.assemble import assemble
from sosp_core.modes.begin import begin
from sosp_core.modes.outcome import Outcome, save_files
from sosp_core.modes.part import parts
from sosp_core.modes.run import Run, Source
from sosp_core.report.expansion import BOTTLENECKS, UNIFORM, Expansion, Variant
from sosp_core.report.report import Checks
from sosp_core.stages.choose import Choice
from sosp_core.stages.expand import (
    Wide,
    examine,
    train_wide,
    unlabelled,
    widen_alike,
    widen_bottlenecks,
)
from sosp_core.stages.export import export
from sosp_core.stages.judge import Verdict, benchmark, judge
from sosp_core.stages.recover import Content, Trained, deliver, size_of, write
from sosp_core.stages.subject import Subject


def bottlenecks(run: Run, source: Source) -> Outcome:
    """Find the bottlenecks, widen them, train, and compare with widening everything."""
    progress, device = run.progress, run.device
    begun = begin(run, source)
    subject, choice, kept = begun.subject, begun.choice, begun.kept
    with run.stage("score"):
        found = examine(subject, choice, progress, device)
    with run.stage("cut"):
        wides = _widen(subject, choice, found)
    with run.stage("finetune"):
        steps = zip(wides.items(), parts(progress, "finetune", list(wides)), strict=True)
        trained = [train_wide(subject, wide, part, run.devices, kept.part(n)) for (n, wide), part in steps]
    with run.stage("write"):
        written = [write(subject, one) for one in trained]
    files = [content for content, _ in written]
    with run.stage("evaluate"):
        pairs = zip(wides.values(), files, strict=True)
        verdicts = [judge(subject, wide.model, content) for wide, content in pairs]
    with run.stage("benchmark"):
        shares = zip(files, parts(progress, "benchmark", list(wides)), strict=True)
        timed = [benchmark(subject, content, part) for content, part in shares]
    with run.stage("export"):
        exports = export(subject, files[0], progress)
    with run.stage("report"):
        delivered = deliver(subject, files[0])
        columns = zip(wides, wides.values(), trained, files, verdicts, timed, strict=True)
        variants = tuple(_variant(choice, *column) for column in columns)
        first, wide = variants[0], wides[BOTTLENECKS]
        report = assemble(
            *(run, subject),
            before=measure(choice.structures, choice.structures.all_alive()),
            after=first.costs,
            layers=first.layers,
            structures=choice.structures,
            refusals=(*choice.structures.refusals, *(r for w in wides.values() for r in w.refusals.values())),
            content=delivered,
            verdict=verdicts[0],
            timed=timed[0],
            exports=exports,
            history=first.training,
            checks=Checks(conversion=begun.subject.conversion, surgery=wide.error, write_back=written[0][1]),
            warnings=unlabelled(subject),
            expansion=Expansion(
                diagnosis=found,
                factor=run.recipe.expand.factor,
                labelled=subject.task.labelled,
                variants=variants,
            ),
        )
        report = replace(report, limits=choice.meant)
        return save_files(run.out, delivered, wide.plan(choice.structures), report, exports.files)


def _widen(subject: Subject, choice: Choice, found: Diagnosis) -> dict[str, Wide]:
    """The rivals by name; the one that the job is about first."""
    wides = {BOTTLENECKS: widen_bottlenecks(subject, choice.structures, found)}
    if subject.recipe.expand.baseline:
        grown = wides[BOTTLENECKS].structures
        parameters = measure(grown, grown.all_alive())[Metric.PARAMS]
        wides[UNIFORM] = widen_alike(subject, choice, parameters)
    return wides


def _variant(
    choice: Choice,
    name: str,
    wide: Wide,
    trained: Trained,
    content: Content,
    verdict: Verdict,
    timed: tuple[Comparison, ...],
) -> Variant:
    return Variant(
        name=name,
        costs=measure(wide.structures, wide.structures.all_alive()),
        file=size_of(content),
        quality=verdict.after,
        benchmark=timed,
        layers=wide.layers(choice.structures),
        training=trained.history,
        error=wide.error,
    )
