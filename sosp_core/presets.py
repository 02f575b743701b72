"""Recipes by name: good beginnings; what came of them is in the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from sosp_core.config import (
    BenchmarkConfig,
    Budget,
    FinetuneConfig,
    Metric,
    Objective,
    Optimizer,
    PruneConfig,
    Recipe,
)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A recipe with a name.

    Attributes:
        name: As in ``sosp compress --recipe NAME``.
        gives: What comes of it, in a line.
        when: When to take it, and when rather another.
    """

    name: str
    gives: str
    when: str
    recipe: Recipe


QUICK = Preset(
    name="quick",
    gives="half the MACs after a short training: a first impression in a minute or so",
    when=(
        "To see whether a network can be pruned at all, and in continuous integration. Its accuracy is a "
        "lower bound of what balanced reaches."
    ),
    recipe=Recipe(
        prune=PruneConfig(rounds=3, samples=96),
        finetune=FinetuneConfig(epochs=4.0),
        benchmark=BenchmarkConfig(min_time_s=0.3, max_time_s=2.0),
    ),
)

BALANCED = Preset(
    name="balanced",
    gives="half the MACs at an accuracy close to the original's: what sosp does when told nothing",
    when="By default, for convolutional networks with some hundreds of samples or more.",
    recipe=Recipe(),
)

MAX_ACCURACY = Preset(
    name="max-accuracy",
    gives="70 % of the MACs, scored on more samples in more rounds and trained for longer",
    when=(
        "If accuracy comes first and an hour does not matter. Give it all the data there is, with labels, "
        "and a smaller --keep once its result leaves room."
    ),
    recipe=Recipe(
        prune=PruneConfig(budget=Budget(keep=0.7), rounds=16, samples=1024),
        finetune=FinetuneConfig(epochs=60.0),
        benchmark=BenchmarkConfig(min_time_s=2.0, max_time_s=20.0),
    ),
)

LABEL_FREE = Preset(
    name="label-free",
    gives="60 % of the MACs, scored and trained on the original's own answers",
    when=(
        "If there are no labels, or labels that do not fit this model. Labels in the data are ignored; "
        "judge the result by its fidelity, or with labelled data by --eval."
    ),
    recipe=Recipe(
        objective=Objective.DISTILL,
        prune=PruneConfig(budget=Budget(keep=0.6)),
        finetune=FinetuneConfig(distill=1.0, epochs=32.0),
    ),
)

LATENCY_2X = Preset(
    name="latency-2x",
    gives="half the latency in ONNX Runtime: measured, not counted, on the machine that runs the job",
    when=(
        "If milliseconds decide, at batch 1 on one thread. Run it on the hardware that the model is for; "
        "set benchmark.threads and benchmark.batch_sizes if it will run otherwise."
    ),
    recipe=Recipe(
        prune=PruneConfig(budget=Budget(metric=Metric.LATENCY, keep=0.5)),
        benchmark=BenchmarkConfig(min_time_s=2.0, max_time_s=20.0),
    ),
)

TRANSFORMER = Preset(
    name="transformer",
    gives="70 % of the MACs of a transformer: whole heads and hidden units go, embeddings stay",
    when=(
        "For encoders of text, images or series. AdamW at a low rate, no views or mixtures of the inputs, "
        "which mean nothing to tokens."
    ),
    recipe=Recipe(
        prune=PruneConfig(budget=Budget(keep=0.7), augment="none", batch_size=16),
        finetune=FinetuneConfig(
            optimizer=Optimizer.ADAMW,
            lr=3e-4,
            weight_decay=0.01,
            batch_size=32,
            augment="none",
            renormalise=False,
        ),
    ),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset for preset in (QUICK, BALANCED, MAX_ACCURACY, LABEL_FREE, LATENCY_2X, TRANSFORMER)
}
