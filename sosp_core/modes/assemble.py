"""The report of a finished job, from what its stages found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from sosp_core.bench.compare import Comparison
from sosp_core.config import Metric
from sosp_core.finetune.history import History
from sosp_core.machine import describe_machine, library_versions
from sosp_core.modes.run import Run
from sosp_core.ops.flow import Refusal
from sosp_core.report.expansion import Expansion
from sosp_core.report.report import Checks, Report
from sosp_core.report.topology import topology
from sosp_core.select.plan import LayerCut
from sosp_core.stages.export import Exports
from sosp_core.stages.judge import Verdict
from sosp_core.stages.recover import Content, size_of
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Structures


def assemble(
    run: Run,
    subject: Subject,
    *,
    before: Mapping[Metric, int],
    after: Mapping[Metric, int],
    layers: tuple[LayerCut, ...],
    structures: Structures,
    refusals: Sequence[Refusal],
    content: Content,
    verdict: Verdict,
    timed: tuple[Comparison, ...],
    exports: Exports,
    history: History,
    checks: Checks,
    warnings: Sequence[str] = (),
    expansion: Expansion | None = None,
) -> Report:
    """Add what is the same for every mode: recipe, digests, times, versions, machine."""
    return Report(
        recipe=asdict(replace(run.recipe, prune=replace(run.recipe.prune, method=run.recipe.method))),
        model_sha256=subject.sha256,
        costs_before=before,
        costs_after=after,
        file_before=subject.file_bytes,
        file_after=size_of(content),
        judged_on=verdict.judged_on,
        samples_judged=verdict.samples,
        quality_before=verdict.before,
        quality_pruned=verdict.pruned,
        quality_after=verdict.after,
        benchmark=timed,
        exports=tuple(exports.results),
        layers=layers,
        network=topology(subject.model, structures, layers, expansion.bottlenecks() if expansion else ()),
        refusals=tuple(str(r) for r in refusals),
        training=history,
        checks=checks,
        warnings=(*subject.warnings, *_untrained(run, subject, history), *warnings, *exports.warnings),
        timings=run.timings,
        versions=library_versions(),
        machine=describe_machine(run.devices),
        expansion=expansion,
    )


def _untrained(run: Run, subject: Subject, history: History) -> list[str]:
    if history.steps or not run.recipe.finetune.trains:
        return []
    samples, needed = len(subject.data), 2 * (subject.interface.batch or 1)
    told = f"no batch is left beside the one held out: it takes {needed} samples, and {samples} can be used"
    return [f"untrained: {told}"]
