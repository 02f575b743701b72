"""Stages ``evaluate`` and ``benchmark``: what it costs and what it gains, both in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from sosp_core.bench.compare import Comparison, compare
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Task
from sosp_core.finetune.evaluate import Forward, Quality, evaluate
from sosp_core.ir.interface import Interface
from sosp_core.progress import Progress
from sosp_core.stages.subject import EVALUATION_BATCH, Subject, forward


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Quality of three models on the same samples.

    Attributes:
        judged_on: ``evaluation`` data if given, else ``held-out`` calibration samples.
        samples: How many.
    """

    judged_on: str
    samples: int
    before: Quality
    pruned: Quality
    after: Quality


@dataclass(frozen=True, kw_only=True)
class Jury:
    """Samples and the original's answers to them: every model of a job is judged alike.

    Attributes:
        judged_on: As in ``Verdict``.
        task: What the outputs mean to these samples, which may have labels where the others have none.
    """

    judged_on: str
    data: Dataset
    task: Task
    interface: Interface
    original: Forward
    batch: int

    def quality(self, model: ir.Model | bytes) -> Quality:
        """Judge a model, or its file, that has the original's inputs and outputs."""
        answers = forward(model, self.interface)
        return evaluate(answers, self.original, self.data, self.task, self.batch)


def jury(subject: Subject) -> Jury:
    """The evaluation data if given, else the held-out share of the calibration data."""
    name, data, task = "evaluation", subject.evaluation, subject.judged_as
    if data is None:
        holdout, multiple = subject.recipe.finetune.holdout, subject.interface.batch or 1
        name, data = "held-out", subject.data.split(holdout, subject.recipe.seed, multiple)[1]
    return Jury(
        judged_on=name,
        data=data,
        task=task,
        interface=subject.interface,
        original=forward(subject.model, subject.interface),
        batch=subject.batch(EVALUATION_BATCH),
    )


def judge(subject: Subject, pruned: ir.Model, final: ir.Model | bytes) -> Verdict:
    """Compare original, pruned and finished model.

    Args:
        subject: The original, and the data.
        pruned: The slim model before training.
        final: The slim model as handed out.
    """
    by = jury(subject)
    before = evaluate(by.original, by.original, by.data, by.task, by.batch)
    return Verdict(
        judged_on=by.judged_on,
        samples=len(by.data),
        before=before,
        pruned=by.quality(pruned),
        after=by.quality(final),
    )


def benchmark(subject: Subject, content: ir.Model | bytes, progress: Progress) -> tuple[Comparison, ...]:
    """Time the original against the slim model, interleaved, for each setting of the recipe."""
    config = subject.recipe.benchmark
    expected = len(config.threads) * (1 if subject.interface.batch else len(config.batch_sizes))
    timed: list[Comparison] = []
    for comparison in timings(subject, content):
        timed.append(comparison)
        progress.report("benchmark", len(timed) / expected)
    return tuple(timed)


def timings(subject: Subject, content: ir.Model | bytes) -> Iterator[Comparison]:
    """The original against a model with its inputs, setting by setting."""
    config = subject.recipe.benchmark
    feeds, fixed = subject.feeds(max(config.batch_sizes)), subject.interface.batch
    yield from compare(subject.model, content, feeds, config, fixed_batch=fixed)


def reservations(timed: tuple[Comparison, ...]) -> list[str]:
    """Warnings: nothing was gained, or the machine did too much else to tell how much."""
    told = []
    if all(c.conclusive and c.speedup < 1 for c in timed):
        told.append("slower: no setting of the benchmark ran faster; try prune.round_to = 8 or 16")
    if (most := max((c.waited or 0.0 for c in timed if c.busy), default=0.0)) > 0:
        told.append(
            f"busy: for {most:.0%} of the benchmark its thread waited for a processor; speed-ups are by "
            "processor time, latencies longer than on a machine with less to do; `sosp bench` measures again"
        )
    return told
