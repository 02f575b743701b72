"""A latency budget: the plan is made by the table, and kept if the clock agrees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sosp_core.bench.compare import Comparison, compare
from sosp_core.progress import Progress
from sosp_core.runtime.session import serialize
from sosp_core.select.correct import PROMISED, Attempt, best, correct
from sosp_core.select.plan import LatencyBudget, Plan, Try
from sosp_core.stages.offer import Choice
from sosp_core.stages.subject import Subject
from sosp_core.stages.timetable import Timetable
from sosp_core.stages.trail import STAGE, Trail
from sosp_core.structures.structures import Alive
from sosp_core.surgery.apply import slim

#: Runs of each model from which the quickest can be trusted to have met a quiet moment.
RUNS_ENOUGH = 100


@dataclass(frozen=True)
class _Timed:
    """A mask, the table's nanoseconds for it, and the clock's comparison."""

    alive: Alive
    predicted: int
    timed: Comparison

    @property
    def by(self) -> str:
        """What is compared: medians, unless they cannot be trusted; quickest runs take many to be quick."""
        if self.timed.busy:
            return "processor"
        narrow = self.timed.speedup_high <= self.timed.speedup_low * (1 + PROMISED)
        return "median" if narrow or self.timed.runs < RUNS_ENOUGH else "fastest"

    @property
    def share(self) -> float:
        """Time of the original's: medians of alternating blocks, or else each model's quickest run."""
        timed = self.timed
        return timed.after.best / timed.before.best if self.by == "fastest" else 1 / timed.speedup


def reach_by_the_clock(
    subject: Subject, choice: Choice, trail: Trail, target: int, progress: Progress
) -> Plan:
    """Shrink to the target by the table; time the slim model against the original; correct the aim.

    A slim model takes as long before fine-tuning as after it. Where no try meets the target, the
    nearest is taken, and the report says by how much it misses.

    Cost: for each try a round of scores and an interleaved benchmark of one setting.

    Raises:
        TargetUnreachable: By the table; so it is if nothing that may go saves any time.
        Cancelled: Between two rounds.
    """
    table = choice.timetable
    if table is None:  # callers ask only under a latency budget
        raise ValueError("no timetable")
    original = serialize(subject.model)
    at_most = subject.recipe.prune.budget.at_most

    def make(aim: float) -> _Timed:
        alive = trail.reach(int(target * aim))
        progress.report(STAGE, 1.0, "measuring the slim model")
        content = serialize(slim(subject.model, choice.structures, alive))
        config = table.setting.alone(subject.recipe.benchmark)
        fixed = subject.interface.batch
        timed = next(compare(original, content, table.feeds, config, fixed_batch=fixed))
        return _Timed(alive, choice.cost.total(choice.cost.kept(alive)), timed)

    def reached(result: _Timed) -> float:
        if at_most is not None:
            return result.timed.after.median * 1e3 / at_most
        return result.share * choice.total / target

    attempts = correct(
        *(make, reached, lambda a, b: bool(np.array_equal(a.alive, b.alive))), whole=choice.total / target
    )
    chosen = best(attempts)
    told = _told(choice, table, target, attempts, chosen)
    return replace(choice.plan(chosen.result.alive), latency=told)


def _told(
    choice: Choice,
    table: Timetable,
    target: int,
    attempts: list[Attempt[_Timed]],
    chosen: Attempt[_Timed],
) -> LatencyBudget:
    timed = chosen.result.timed
    return LatencyBudget(
        batch_size=table.setting.batch,
        threads=table.setting.threads,
        provider=timed.provider,
        original_ms=timed.before.median * 1e3,
        target_share=target / choice.total,
        predicted_share=chosen.result.predicted / choice.total,
        measured_share=chosen.result.share,
        reached=chosen.reached,
        met=chosen.reached <= 1 + PROMISED,
        tries=tuple(
            Try(
                predicted_share=a.result.predicted / choice.total,
                measured_share=a.result.share,
                low=1 / a.result.timed.speedup_high,
                high=1 / a.result.timed.speedup_low,
                by=a.result.by,
            )
            for a in attempts
        ),
        entries=len(table.model.table.entries),
        table_s=table.model.table.spent_s,
        curves=table.curves,
    )
