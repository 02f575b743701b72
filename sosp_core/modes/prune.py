"""Mode ``prune``: every hand-over is proved before the next stage begins.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → further forms → report.
"""

from __future__ import annotations

from sosp_core.modes.assemble import assemble
from sosp_core.modes.outcome import Outcome, save
from sosp_core.modes.run import Run, Source
from sosp_core.report.report import Checks
from sosp_core.runtime.session import serialize
from sosp_core.stages.choose import choose, offer
from sosp_core.stages.cut import cut
from sosp_core.stages.export import export
from sosp_core.stages.judge import benchmark, judge, slower
from sosp_core.stages.recover import deliver, finetune, write
from sosp_core.stages.resume import CUT, MASK
from sosp_core.stages.subject import convert, load


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
        report = assemble(
            *(run, subject),
            before=plan.before,
            after=plan.after,
            layers=plan.layers,
            refusals=choice.structures.refusals,
            content=content,
            verdict=verdict,
            timed=timed,
            exports=exports,
            history=trained.history,
            checks=checks,
            warnings=slower(timed),
        )
        return save(run.out, content, plan, choice.structures, report, exports.files)
