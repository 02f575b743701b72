"""Stages ``evaluate`` and ``benchmark``: what it costs and what it gains, both in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sosp_core.bench.compare import Comparison, compare
from sosp_core.finetune.evaluate import Quality, evaluate
from sosp_core.progress import Progress
from sosp_core.runtime.session import serialize
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


def judge(subject: Subject, pruned: bytes, final: bytes) -> Verdict:
    """Compare original, pruned and finished model.

    Args:
        subject: The original, and the data.
        pruned: The slim model before training.
        final: The slim model as handed out.
    """
    name, data = "evaluation", subject.evaluation
    if data is None:
        holdout, multiple = subject.recipe.finetune.holdout, subject.interface.batch or 1
        name, data = "held-out", subject.data.split(holdout, subject.recipe.seed, multiple)[1]
    task = subject.task
    if task.labelled and data.labels is None:
        task = replace(task, labelled=False)
    original = forward(serialize(subject.model), subject.interface)
    models = (original, *(forward(content, subject.interface) for content in (pruned, final)))
    size = subject.batch(EVALUATION_BATCH)
    before, between, after = (evaluate(m, original, data, task, size) for m in models)
    return Verdict(judged_on=name, samples=len(data), before=before, pruned=between, after=after)


def benchmark(subject: Subject, content: bytes, progress: Progress) -> tuple[Comparison, ...]:
    """Time the original against the slim model, interleaved, for each setting of the recipe."""
    config, fixed = subject.recipe.benchmark, subject.interface.batch
    feeds = subject.feeds(max(config.batch_sizes))
    expected = len(config.threads) * (1 if fixed else len(config.batch_sizes))
    timed: list[Comparison] = []
    for comparison in compare(serialize(subject.model), content, feeds, config, fixed_batch=fixed):
        timed.append(comparison)
        progress.report("benchmark", len(timed) / expected)
    return tuple(timed)


def slower(timed: tuple[Comparison, ...]) -> list[str]:
    """A warning, if nothing was gained."""
    if all(c.conclusive and c.speedup < 1 for c in timed):
        return ["slower: no setting of the benchmark ran faster; try prune.round_to = 8 or 16"]
    return []
