"""The recipe of a job: one frozen dataclass a stage, validated when built.

The core owns the meaning of each field; ``service.recipes`` parses JSON into these classes and
derives the API schema from them. ``__pydantic_config__`` is a plain mapping, read by pydantic
if it is the one who builds the object: unknown fields and lax conversions are errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sosp_core.fields import require, settle
from sosp_core.words import COUNTED, Method, Metric, Mode, Objective, Optimizer, Precision, Quantization

__all__ = [
    "COUNTED",
    "MIXTURES",
    "MOST_STEPS",
    "STRICT",
    "VIEWS",
    "BenchmarkConfig",
    "Budget",
    "ExpandConfig",
    "ExportConfig",
    "FinetuneConfig",
    "LayerLimits",
    "Method",
    "Metric",
    "Mode",
    "Objective",
    "Optimizer",
    "Precision",
    "PruneConfig",
    "Quantization",
    "Recipe",
]

STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

#: Augmentations that keep a sample's class, and those that mix the classes of two.
VIEWS, MIXTURES = frozenset({"flip", "shift"}), frozenset({"mixup", "cutmix"})

#: A recipe says milliseconds, the clock nanoseconds.
PER_MILLISECOND = 1e6

#: Cuts that a gradual pruning may take: each is proved, trained, written and judged by itself.
MOST_STEPS = 20


def _augmentations(asked: str, known: frozenset[str]) -> frozenset[str] | None:
    """Parse ``auto`` (None), ``none`` or names joined by ``+``."""
    if asked == "auto":
        return None
    names = frozenset() if asked == "none" else frozenset(asked.split("+"))
    listed, unknown = ", ".join(sorted(known)), ", ".join(sorted(names - known))
    require(not unknown, f"augment is auto, none, or out of {listed} joined by +; unknown: {unknown}")
    return names


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What must be left after pruning: a share, an amount, or as little as the quality allows.

    With none of the three, ``keep`` is 0.5.

    Attributes:
        metric: What is counted. Latency is judged at the first entries of the benchmark's
            ``threads`` and ``batch_sizes``, on its providers.
        keep: Share of the original's.
        at_most: Amount; milliseconds for latency, else a whole number.
        max_drop: The judged metric (accuracy, or fidelity where there are no labels) may fall by
            this much, such as 0.01 for one point; the smallest share that allows it is searched for.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    metric: Metric = Metric.MACS
    keep: float | None = None
    at_most: int | float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        settle(self)
        given = [n for n in ("keep", "at_most", "max_drop") if getattr(self, n) is not None]
        require(len(given) <= 1, f"give keep, at_most or max_drop, not both: {' and '.join(given)}")
        require(self.keep is None or 0 < self.keep < 1, f"keep must lie between 0 and 1, got {self.keep}")
        require(
            self.max_drop is None or 0 < self.max_drop < 1,
            f"max_drop must lie between 0 and 1, got {self.max_drop}",
        )
        if self.at_most is None:
            return
        if self.metric is Metric.LATENCY:
            require(self.at_most > 0, f"at_most must be positive milliseconds, got {self.at_most}")
        else:
            require(isinstance(self.at_most, int), f"at_most must be a whole number, got {self.at_most}")
            require(self.at_most >= 1, f"at_most must be at least 1, got {self.at_most}")

    def target(self, total: int) -> int:
        """The largest amount allowed, for a model that has ``total``; latencies in nanoseconds."""
        if self.at_most is not None:
            return int(self.at_most * PER_MILLISECOND) if self.metric is Metric.LATENCY else int(self.at_most)
        return int(total * (0.5 if self.keep is None else self.keep))

    def of(self, target: int) -> Budget:
        """The same as an amount: ``target``, in the unit in which ``Budget.target`` gives it."""
        amount = target / PER_MILLISECOND if self.metric is Metric.LATENCY else target
        return Budget(metric=self.metric, at_most=amount)


@dataclass(frozen=True, kw_only=True)
class LayerLimits:
    """How much of a layer's width stays: whole numbers are widths, fractions are shares of it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    min_keep: int | float | None = None
    max_keep: int | float | None = None
    exact: int | float | None = None

    def __post_init__(self) -> None:
        settle(self)
        given = [n for n in ("min_keep", "max_keep", "exact") if getattr(self, n) is not None]
        require(bool(given), "give min_keep, max_keep or exact")
        require(self.exact is None or given == ["exact"], "exact stands alone: it is both limits")
        for name in given:
            value = getattr(self, name)
            share = isinstance(value, float)
            require(
                0 < value <= 1 if share else value >= 1,
                f"{name} must be a width of at least 1, or a share up to 1.0, got {value}",
            )

    @property
    def keeps(self) -> bool:
        """Whether some of the width has to stay."""
        return self.min_keep is not None or self.exact is not None


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """Which structures go.

    Attributes:
        method: How structures are scored; see ``Recipe.method`` for ``auto``.
        budget: What may be left.
        rounds: Scores are taken again at the current mask this many times; 1 is one-shot. Where there
            are ``steps``, they share the rounds.
        steps: Cuts on the way to the budget, in equal amounts of its metric, each followed by a training
            (gradual pruning); 1 cuts once. How the training is shared says ``finetune.between``.
        samples: Calibration samples that the scores read, at most.
        batch_size: Samples a scoring pass holds at once.
        round_to: Widths stay multiples of this where they were; 1 lets any width happen. None takes
            the largest of 8, 4, 2 and 1 that the budget can be reached with: ONNX Runtime blocks
            channels by 8 or 16, and a width such as 47 runs slower than the 64 it came from.
        max_layer_ratio: No group of equivalent structures loses a larger share than this, unless it
            goes altogether, see ``depth``.
        depth: Whole branches beside a residual connection may go, where no layer in them is protected or
            has to keep a width; of several cuts, the last may take them. None lets them under a latency
            budget: at the same speed the network is better for it. At the same multiply-accumulates it
            is faster, and better or worse, depending on the network.
        augment: Views of images that the scores read: ``auto``, ``none``, or ``flip`` and ``shift``
            joined by ``+``. A network answers the images it was trained on with certainty: there
            the loss hardly curves. There are none where labels judge and do not hold for views (all
            but classes of a whole sample, such as masks or boxes). Only one input may be images.
        compensate: Fold a least-squares prediction of what was removed into the kept weights.
        protect: Nodes whose widths stay as they are: names, shell patterns of names, or
            ``op:`` and an operator, such as ``op:Gemm``.
        layers: Limits on the widths of layers, by the same kinds of pattern.
        sweep: Shares of the budget's metric to keep, one slim model each; for mode ``sweep``.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    method: Method = Method.AUTO
    budget: Budget = field(default_factory=Budget)
    rounds: int = 8
    steps: int = 1
    samples: int = 256
    batch_size: int = 32
    round_to: int | None = None
    max_layer_ratio: float = 0.9
    depth: bool | None = None
    augment: str = "auto"
    compensate: bool = True
    protect: tuple[str, ...] = ()
    layers: dict[str, LayerLimits] = field(default_factory=dict)
    sweep: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        settle(self)
        require(1 <= self.rounds <= 200, f"rounds must lie in 1..200, got {self.rounds}")
        require(1 <= self.steps <= MOST_STEPS, f"steps must lie in 1..{MOST_STEPS}, got {self.steps}")
        require(self.samples >= 1, f"samples must be at least 1, got {self.samples}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        require(
            self.round_to is None or 1 <= self.round_to <= 256,
            f"round_to must lie in 1..256, got {self.round_to}",
        )
        require(
            0 < self.max_layer_ratio <= 1, f"max_layer_ratio must lie in (0, 1], got {self.max_layer_ratio}"
        )
        require(len(self.sweep) <= 20, f"sweep takes at most 20 shares, got {len(self.sweep)}")
        require(all(0 < k < 1 for k in self.sweep), f"sweep shares must lie between 0 and 1: {self.sweep}")
        require(len(set(self.sweep)) == len(self.sweep), f"sweep names a share twice: {self.sweep}")
        self.views()

    def views(self) -> frozenset[str] | None:
        """The augmentations asked for; None leaves the choice to the data."""
        return _augmentations(self.augment, VIEWS)

    @property
    def takes_branches(self) -> bool:
        """Whether whole branches may go."""
        return self.budget.metric is Metric.LATENCY if self.depth is None else self.depth


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How the slim network recovers.

    Attributes:
        epochs: Passes over the training share of the data; ``steps`` overrides it. None passes
            over few samples often and over many once: about 160,000 samples in 1 to 45 epochs.
        steps: Optimiser steps; 0 turns fine-tuning off.
        between: Where ``prune.steps`` asks for several cuts: the share of the training that those before
            the last get together, in equal parts. The last cut gets the rest.
        optimizer: ``sgd`` (momentum 0.9) or ``adamw``.
        lr: Peak learning rate; None chooses one that suits the optimiser and the network.
        weight_decay: Decoupled for AdamW, plain for SGD.
        batch_size: Samples a step.
        distill: Weight of matching the original's outputs against the labels, 0 to 1.
        features: Weight of matching the original's inner tensors where the plan keeps them.
        temperature: Softens both distributions of the distillation; the higher, the more it asks
            for equal scores rather than equal answers.
        ema: Decay a step of the running mean of the weights that is handed out; 0 hands out the
            weights themselves.
        augment: ``auto``, ``none``, or names out of ``flip``, ``shift``, ``mixup`` and
            ``cutmix``, joined by ``+``. Where labels do not hold for views (all but classes of a whole
            sample, such as masks or boxes), the original's answers take their place, or, with
            ``distill`` below 0.5, there are no views. Only one input may be images.
        renormalise: Train networks without any normalisation as if it had been folded into their
            convolutions: with it, and fold it back.
        holdout: Share of the data kept aside to choose the best weights by.
        patience: Evaluations without improvement before an early stop; None goes on to the end. While
            the rate is high nothing may improve for long: what is better comes as it falls.
        precision: Arithmetic.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    epochs: float | None = None
    steps: int | None = None
    between: float = 0.25
    optimizer: Optimizer = Optimizer.SGD
    lr: float | None = None
    weight_decay: float = 1e-4
    batch_size: int = 32
    distill: float = 0.9
    features: float = 1.0
    temperature: float = 6.0
    ema: float = 0.99
    augment: str = "auto"
    renormalise: bool = True
    holdout: float = 0.1
    patience: int | None = None
    precision: Precision = Precision.AUTO

    def __post_init__(self) -> None:
        settle(self)
        require(
            self.epochs is None or 0 <= self.epochs <= 10_000,
            f"epochs must lie in 0..10000, got {self.epochs}",
        )
        require(self.steps is None or self.steps >= 0, f"steps must not be negative, got {self.steps}")
        require(0 <= self.between < 1, f"between must lie in [0, 1), got {self.between}")
        require(self.lr is None or 0 < self.lr <= 10, f"lr must lie in (0, 10], got {self.lr}")
        require(0 <= self.weight_decay <= 1, f"weight_decay must lie in 0..1, got {self.weight_decay}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        require(0 <= self.distill <= 1, f"distill must lie in 0..1, got {self.distill}")
        require(0 <= self.features <= 1000, f"features must lie in 0..1000, got {self.features}")
        require(0 <= self.ema < 1, f"ema must lie in [0, 1), got {self.ema}")
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")
        require(0 < self.holdout <= 0.5, f"holdout must lie in (0, 0.5], got {self.holdout}")
        require(
            self.patience is None or self.patience >= 1, f"patience must be at least 1, got {self.patience}"
        )
        self.augmentations()

    @property
    def trains(self) -> bool:
        """Whether it takes any step."""
        return self.steps != 0 and (self.steps is not None or self.epochs != 0)

    def augmentations(self) -> frozenset[str] | None:
        """The augmentations asked for; None leaves the choice to the data."""
        return _augmentations(self.augment, VIEWS | MIXTURES)


@dataclass(frozen=True, kw_only=True)
class ExpandConfig:
    """Which layers are bottlenecks, and how they are widened; for the modes that do.

    The diagnosis is a pruning by the recipe's method, rounds and samples to the budget's share of
    all structures: counted in these, whatever the budget counts, for a layer that is cheap in MACs
    is left alone for being cheap. Layers with limits (``prune.layers``) are no bottlenecks: what they
    lose is the recipe's decision.

    Attributes:
        factor: Bottlenecks become this many times as wide.
        threshold: Of what was expected to go; a layer that lost less of it is a bottleneck.
        baseline: Mode ``bottlenecks``: also widen all layers alike to as many parameters, and train
            that with the same settings. It costs as much again.
        distill: Takes the place of ``finetune.distill`` while the widened network trains: with
            labels, the weight of matching the original against them. What matches the original
            cannot surpass it.
        best: Keep the weights that did best on held-out samples, not the last. Only for data that
            the original was not trained on: of what it has seen, it knows every answer, and no
            training looks better than none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    factor: float = 2.0
    threshold: float = 0.5
    baseline: bool = True
    distill: float = 0.3
    best: bool = False

    def __post_init__(self) -> None:
        settle(self)
        require(1 < self.factor <= 16, f"factor must lie in (1, 16], got {self.factor}")
        require(0 < self.threshold <= 1, f"threshold must lie in (0, 1], got {self.threshold}")
        require(0 <= self.distill <= 1, f"distill must lie in 0..1, got {self.distill}")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """How original and slim are timed.

    Attributes:
        providers: ONNX Runtime execution providers, in order of preference.
        threads: Intra-op thread counts to measure with.
        batch_sizes: Batch sizes to measure with; one if the model's batch is fixed.
        min_time_s: Time spent on each combination, at least, once warm.
        max_time_s: And at most; the interval of the ratio is reported as it then is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: tuple[int, ...] = (1,)
    batch_sizes: tuple[int, ...] = (1, 16)
    min_time_s: float = 1.0
    max_time_s: float = 10.0

    def __post_init__(self) -> None:
        settle(self)
        require(bool(self.providers), "providers must not be empty")
        require(bool(self.threads), "threads must not be empty")
        require(bool(self.batch_sizes), "batch_sizes must not be empty")
        require(all(1 <= t <= 1024 for t in self.threads), "threads must lie in 1..1024")
        require(all(1 <= b <= 65536 for b in self.batch_sizes), "batch_sizes must lie in 1..65536")
        require(
            0 < self.min_time_s <= self.max_time_s <= 600, "need 0 < min_time_s <= max_time_s <= 600 seconds"
        )


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Further forms of the slim model; each is checked, judged and timed, and may fail on its own.

    Attributes:
        int8: ``none``, ``static`` or ``dynamic``: makes ``model.int8.onnx``.
        fp16: Makes ``model.fp16.onnx``, in half precision inside.
        samples: Calibration samples that static quantisation reads, at most.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    int8: Quantization = Quantization.NONE
    fp16: bool = False
    samples: int = 128

    def __post_init__(self) -> None:
        settle(self)
        require(1 <= self.samples <= 100_000, f"samples must lie in 1..100000, got {self.samples}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a job can be told besides its model and data."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
    mode: Mode = Mode.PRUNE
    objective: Objective = Objective.AUTO
    prune: PruneConfig = field(default_factory=PruneConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    expand: ExpandConfig = field(default_factory=ExpandConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        require(0 <= self.seed < 2**32, f"seed must lie in 0..2^32-1, got {self.seed}")
        budget, sweeps = self.prune.budget, self.mode is Mode.SWEEP
        require(sweeps == bool(self.prune.sweep), "mode sweep and prune.sweep come together")
        limits = (budget.keep, budget.at_most, budget.max_drop)
        require(
            not sweeps or limits == (None,) * 3,
            "prune.sweep says how much to keep; give no keep, at_most or max_drop beside it",
        )
        widens = self.mode in (Mode.BOTTLENECKS, Mode.EXPAND_PRUNE)
        require(
            not widens or budget.max_drop is None,
            f"mode {self.mode} must have keep or at_most; prune.budget.max_drop searches by pruning alone",
        )
        if self.prune.steps > 1:
            self._require_gradual()

    def _require_gradual(self) -> None:
        """Several cuts need one budget that can be divided, and one plan that it is for."""
        asked, budget = f"prune.steps = {self.prune.steps}", self.prune.budget
        require(self.mode is Mode.PRUNE, f"{asked} must have mode prune; mode {self.mode} takes 1")
        require(budget.max_drop is None, f"{asked} must have keep or at_most; prune.budget.max_drop takes 1")
        require(
            budget.metric in COUNTED,
            f"{asked} must have a prune.budget.metric that is counted ({', '.join(COUNTED)}), "
            f"not {budget.metric}",
        )

    @property
    def method(self) -> Method:
        """How structures are scored: by what is missed after training, or at once where none follows."""
        if self.prune.method is not Method.AUTO:
            return self.prune.method
        follows = self.finetune.trains and self.mode is not Mode.BOTTLENECKS  # which trains nothing pruned
        return Method.RECOVERY if follows else Method.SOSP_SIGNED
