"""What every plan goes through, whichever mode made it: cut, trained, written, judged; then told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from sosp_core.bench.compare import Comparison
from sosp_core.checkpoints import Kept
from sosp_core.config import Metric
from sosp_core.cost.model import measure
from sosp_core.finetune.history import History
from sosp_core.modes.assemble import assemble
from sosp_core.modes.outcome import Outcome, save
from sosp_core.modes.run import Run
from sosp_core.report.report import Checks, Point
from sosp_core.report.step import Step
from sosp_core.runtime.observe import observe_shapes
from sosp_core.select.plan import Plan
from sosp_core.select.search import Tried
from sosp_core.stages.choose import Choice
from sosp_core.stages.cut import Cut, cut
from sosp_core.stages.export import export
from sosp_core.stages.judge import Verdict, benchmark, judge, reservations
from sosp_core.stages.recover import Content, deliver, finetune, write
from sosp_core.stages.resume import CUT
from sosp_core.stages.subject import Subject
from sosp_core.structures.discover import discover
from sosp_core.structures.storage import stored


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A slim model that has proved itself.

    Attributes:
        surgery: Error of the proof of the cut.
        write_back: Error of the proof of the file.
    """

    plan: Plan
    content: Content
    history: History
    verdict: Verdict
    surgery: float
    write_back: float

    @property
    def drop(self) -> float:
        """How far the judged metric fell: accuracy, or fidelity where there are no labels."""
        before, after = self.verdict.before, self.verdict.after
        if before.accuracy is None or after.accuracy is None:
            return before.fidelity - after.fidelity
        return before.accuracy - after.accuracy

    @property
    def missed(self) -> list[str]:
        """A warning about a latency budget that was not met."""
        return [] if self.plan.latency is None else self.plan.latency.warnings()


@dataclass(frozen=True, kw_only=True)
class Besides:
    """What a mode found out on its way to the plan.

    Attributes:
        tries: Budgets that were tried under ``max_drop``.
        points: The models of a sweep.
        steps: The cuts of a gradual pruning.
        models: Further models, by file name.
        timed: The benchmark, where it has been done.
    """

    tries: tuple[Tried, ...] = ()
    points: tuple[Point, ...] = ()
    steps: tuple[Step, ...] = ()
    models: Mapping[str, Content] = field(default_factory=dict)
    timed: tuple[Comparison, ...] | None = None


def finish(
    run: Run,
    subject: Subject,
    choice: Choice,
    plan: Plan,
    kept: Kept = Kept(),  # noqa: B008 (immutable)
    against: Subject | None = None,
) -> Finished:
    """Cut a plan out of the model, let the rest recover, and judge it.

    Args:
        run: Its stages.
        subject: What is cut, and who teaches.
        choice: What the plan was made from.
        plan: What stays.
        kept: Checkpoints.
        against: Whose original the verdict compares with, if not the subject's.
    """
    with run.stage("cut"):
        slim = run.once(kept, "cut", CUT, lambda: cut(subject, choice, plan.alive, run.device))
    return recover(run, subject, choice, plan, slim, kept, against)


def recover(
    run: Run,
    subject: Subject,
    choice: Choice,
    plan: Plan,
    slim: Cut,
    kept: Kept,
    against: Subject | None = None,
    last: bool = False,
) -> Finished:
    """The same once the plan has been cut; ``last`` keeps the last weights, not the best."""
    with run.stage("finetune"):
        trained = finetune(subject, choice, slim.model, plan.alive, run.progress, run.devices, kept, last)
    with run.stage("write"):
        content, write_back = write(subject, trained)
    with run.stage("evaluate"):
        verdict = judge(against or subject, slim.model, content)
    return Finished(
        plan=plan if not choice.gone(plan.alive) else _counted(plan, slim.model, subject),
        content=content,
        history=trained.history,
        verdict=verdict,
        surgery=slim.error,
        write_back=write_back,
    )


def _counted(plan: Plan, slim: ir.Model, subject: Subject) -> Plan:
    """Costs as they are: a branch takes with it what goes by the width of what stays."""
    weights, size = stored(slim, subject.model)
    left = discover(slim, observe_shapes(slim, subject.probe))
    macs = measure(left, left.all_alive())[Metric.MACS]
    return replace(plan, after={**plan.after, Metric.PARAMS: weights, Metric.SIZE: size, Metric.MACS: macs})


def publish(
    run: Run,
    subject: Subject,
    choice: Choice,
    done: Finished,
    besides: Besides = Besides(),
) -> Outcome:
    """Time it, make further forms of it, and tell everything."""
    with run.stage("benchmark"):
        timed = benchmark(subject, done.content, run.progress) if besides.timed is None else besides.timed
    with run.stage("export"):
        exports = export(subject, done.content, run.progress)
    plan, verdict = done.plan, done.verdict
    with run.stage("report"):
        content = deliver(subject, done.content)
        report = assemble(
            *(run, subject),
            before=plan.before,
            after=plan.after,
            layers=plan.layers,
            structures=choice.structures,
            refusals=choice.structures.refusals,
            content=content,
            verdict=verdict,
            timed=timed,
            exports=exports,
            history=done.history,
            checks=Checks(conversion=subject.conversion, surgery=done.surgery, write_back=done.write_back),
            warnings=(*reservations(timed), *_missed(done, besides)),
        )
        report = replace(
            report,
            limits=choice.meant,
            latency_budget=plan.latency,
            tries=besides.tries,
            points=besides.points,
            steps=besides.steps,
        )
        files = {**exports.files, **besides.models}
        return save(run.out, content, plan, choice.structures, report, files)


def _missed(done: Finished, besides: Besides) -> list[str]:
    """Warnings about budgets that were not met."""
    told = done.missed
    if besides.tries and not besides.tries[-1].allowed:
        told.append(
            f"max_drop_missed: the mildest plan tried keeps {besides.tries[-1].keep:.0%} and still "
            f"falls by {done.drop * 100:.1f} points"
        )
    return told
