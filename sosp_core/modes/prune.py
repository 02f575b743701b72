"""Mode ``prune``: every hand-over is proved before the next stage begins.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → further forms → report.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from sosp_core.bench.compare import Comparison
from sosp_core.finetune.history import History
from sosp_core.machine import describe_machine, library_versions
from sosp_core.modes.outcome import Outcome, save
from sosp_core.modes.run import Run, Source
from sosp_core.report.report import Checks, Report
from sosp_core.runtime.session import serialize
from sosp_core.select.plan import Plan
from sosp_core.stages.choose import Choice, choose, offer
from sosp_core.stages.cut import cut
from sosp_core.stages.export import Exports, export
from sosp_core.stages.judge import Verdict, benchmark, judge, slower
from sosp_core.stages.recover import deliver, finetune, write
from sosp_core.stages.resume import CUT, MASK
from sosp_core.stages.subject import Subject, convert, load


def prune(run: Run, source: Source) -> Outcome:
    """Take structures out of a model under a budget, and let what remains recover."""
    progress, device = run.progress, run.device
    with run.stage("load"):
        subject = load(source.model, source.data, source.evaluation, run.recipe)
    with run.stage("convert"):
        subject, conversion = convert(subject)
        kept = run.kept(subject)
    with run.stage("discover"):
        choice = offer(subject)
    with run.stage("score"):
        alive = run.once(kept, "score", MASK, lambda: choose(subject, choice, progress, device).alive)
        plan = choice.plan(alive)
    with run.stage("cut"):
        slim = run.once(kept, "cut", CUT, lambda: cut(subject, choice, plan.alive, device))
    with run.stage("finetune"):
        trained = finetune(subject, choice, slim.model, plan.alive, progress, device, kept)
    with run.stage("write"):
        content, write_back = write(subject, trained)
    with run.stage("evaluate"):
        verdict = judge(subject, serialize(slim.model), content)
    with run.stage("benchmark"):
        timed = benchmark(subject, content, progress)
    with run.stage("export"):
        exports = export(subject, content, progress)
    checks = Checks(conversion=conversion, surgery=slim.error, write_back=write_back)
    with run.stage("report"):
        content = deliver(subject, content)
        report = _report(
            run, subject, choice, plan, content, verdict, timed, trained.history, checks, exports
        )
        return save(run.out, content, plan, choice.structures, report, exports.files)


def _report(
    run: Run,
    subject: Subject,
    choice: Choice,
    plan: Plan,
    content: bytes,
    verdict: Verdict,
    timed: tuple[Comparison, ...],
    history: History,
    checks: Checks,
    exports: Exports,
) -> Report:
    return Report(
        recipe=asdict(run.recipe),
        model_sha256=hashlib.sha256(subject.original).hexdigest(),
        costs_before=plan.before,
        costs_after=plan.after,
        file_before=len(subject.original),
        file_after=len(content),
        judged_on=verdict.judged_on,
        samples_judged=verdict.samples,
        quality_before=verdict.before,
        quality_pruned=verdict.pruned,
        quality_after=verdict.after,
        benchmark=timed,
        exports=tuple(exports.results),
        layers=plan.layers,
        refusals=tuple(str(r) for r in choice.structures.refusals),
        training=history,
        checks=checks,
        warnings=(*subject.warnings(), *slower(timed), *exports.warnings, *missed(plan)),
        latency_budget=plan.latency,
        limits=choice.meant,
        timings=run.timings,
        versions=library_versions(),
        machine=describe_machine(run.device),
    )
