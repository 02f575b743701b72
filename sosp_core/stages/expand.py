"""Stages ``score`` and ``cut`` of the modes that widen: where the bottlenecks are, and wider ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.bottleneck.detect import Diagnosis, diagnose
from sosp_core.bottleneck.expand import Extra, alike, by_factor
from sosp_core.checkpoints import Kept
from sosp_core.config import Budget, FinetuneConfig, Metric, Recipe
from sosp_core.cost.model import CostModel, measure
from sosp_core.errors import ModelError, NoBottleneck, NothingToWiden, RecipeInvalid, WideningDiverged
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ops.flow import Refusal
from sosp_core.progress import Progress
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.observe import observe_shapes
from sosp_core.select.greedy import smallest
from sosp_core.select.plan import LayerCut
from sosp_core.select.rules import Rules
from sosp_core.stages.choose import Choice, choose, offer
from sosp_core.stages.recover import Content, Devices, Trained, train
from sosp_core.stages.subject import Subject
from sosp_core.structures.discover import discover
from sosp_core.structures.structures import STAYS, Structures
from sosp_core.surgery.verify import outputs_of
from sosp_core.surgery.widen import copies_of, widen

#: Original against widened model: zeros are added to the same float32 sums. Seen 6e-7.
EXACT = 1e-5


@dataclass(frozen=True, kw_only=True)
class Wide:
    """A widened model before any training.

    Attributes:
        extra: Structures gained, by group.
        error: Of the proof that it computes what the original does.
        structures: Of the widened model.
        refusals: Groups that should have grown and could not, by number.
    """

    model: ir.Model
    extra: Extra
    error: float
    structures: Structures
    refusals: Mapping[int, Refusal]

    def layers(self, original: Structures) -> tuple[LayerCut, ...]:
        """Widths by node, of the original and of this."""
        after = {layer.node: len(layer.members) for layer in self.structures.layers}
        return tuple(
            LayerCut(node=layer.node, before=len(layer.members), after=after[layer.node])
            for layer in original.layers
            if (layer.members != STAYS).any()
        )

    def plan(self, original: Structures) -> dict[str, Any]:
        """What each group gained, ready for JSON."""
        sides = ((original, "before"), (self.structures, "after"))
        costs = {key: measure(some, some.all_alive()) for some, key in sides}
        return {
            "schema": "sosp.plan/1",
            **{key: {str(k): v for k, v in cost.items()} for key, cost in costs.items()},
            "groups": [
                {"name": group.name, "structures": len(group.members), "added": more}
                for group, more in zip(original.groups, self.extra.tolist(), strict=True)
            ],
            "layers": [asdict(layer) for layer in self.layers(original)],
            "refusals": [str(refusal) for refusal in self.refusals.values()],
        }


def examine(subject: Subject, choice: Choice, progress: Progress, device: torch.device) -> Diagnosis:
    """Prune to the budget's share of all structures, and look where it hardly cut.

    Layers with limits of their own are pruned as these say, and not looked at.

    Args:
        subject: The original and the data.
        choice: What the recipe's own budget allows; only its share is read.
        progress: Told of every round.
        device: Where scores are taken.

    Raises:
        NoBottleneck: Every layer lost about its share.
        RecipeInvalid: There is no layer without limits.
    """
    prune, count = subject.recipe.prune, choice.structures.count
    groups = choice.structures.groups
    rules = Rules(round_to=1, max_layer_ratio=prune.max_layer_ratio, bounds=choice.rules.bounds)
    floors = {n: rules.floor(group) for n, group in enumerate(groups) if not rules.bounded(group)}
    if not floors:
        reason = "says how wide every layer may be; a bottleneck can only be a layer without limits"
        raise RecipeInvalid(field="prune.layers", reason=reason)
    least = smallest(CostModel(choice.structures, Metric.STRUCTURES), groups, rules)
    left = min(max(round(count * choice.target / choice.total), least, 1), max(count - 1, 1))
    budget = Budget(metric=Metric.STRUCTURES, at_most=left)
    # Widths are not for running here: rounding them would make narrow layers look needed.
    # What is pruned here is not trained, either.
    untrained = FinetuneConfig(steps=0)
    config = replace(
        subject.recipe, prune=replace(prune, budget=budget, round_to=1, depth=False), finetune=untrained
    )
    probing = replace(subject, recipe=config)
    plan = choose(probing, offer(probing), progress, device)
    found = diagnose(choice.structures, plan.alive, floors, subject.recipe.expand.threshold)
    if not found.bottlenecks:
        least_touched = sorted((g for g in found.groups if g.expected > 0), key=lambda g: g.share)
        told = [f"{g.name} ({g.removed} of {g.structures}, {g.expected:.1f} expected)" for g in least_touched]
        raise NoBottleneck(layers=told, threshold=found.threshold)
    return found


def widen_bottlenecks(subject: Subject, structures: Structures, found: Diagnosis) -> Wide:
    """Multiply the width of the bottlenecks.

    Raises:
        NothingToWiden: None of them can be widened exactly; each with the reason.
        WideningDiverged: Each can by itself, and all together cannot.
    """
    extra = by_factor(structures.groups, found.bottlenecks, subject.recipe.expand.factor)
    wide = _widen_exactly(subject, structures, extra)
    if not wide.extra.any():
        raise NothingToWiden(refusals=[str(r) for r in wide.refusals.values()])
    return wide


def widen_alike(subject: Subject, choice: Choice, parameters: int) -> Wide:
    """Widen all layers whose widths the recipe does not cap by one factor, to at most as many parameters.

    Raises:
        WideningDiverged: Each can by itself, and all together cannot.
    """
    structures, groups = choice.structures, choice.structures.groups
    cost = CostModel(structures, Metric.PARAMS)
    free = [g for g, group in enumerate(groups) if not choice.rules.capped(group)]
    wide = _widen_exactly(subject, structures, alike(groups, free, cost, parameters))
    if not wide.refusals:
        return wide
    # What these cannot take is spread over the others.
    able = [g for g in free if g not in wide.refusals]
    again = _widen_exactly(subject, structures, alike(groups, able, cost, parameters))
    return replace(again, refusals={**again.refusals, **wide.refusals})


def train_wide(
    subject: Subject,
    wide: Wide,
    progress: Progress,
    devices: Devices,
    kept: Kept = Kept(),  # noqa: B008 (immutable)
) -> Trained:
    """Train a widened network: with labels, mostly on these, for the original cannot teach it more.

    Inner tensors of the original are no targets: what is to grow beyond it must not stay like it.

    Raises:
        Cancelled: Between two steps.
        TrainingDiverged: The loss did not stay finite.
    """
    expand = subject.recipe.expand
    config = replace(subject.recipe.finetune, distill=expand.distill)
    return train(subject, wide.model, config, progress, devices, last=not expand.best, kept=kept)


def unlabelled(subject: Subject) -> list[str]:
    """A warning, if there was nothing but the original to learn from."""
    if subject.task.labelled:
        return []
    return [
        "unlabelled: the widened network learned from the original's answers alone, so it can come "
        "close to the original but not surpass it; labels would show what the width is worth"
    ]


def as_subject(subject: Subject, trained: Content, recipe: Recipe) -> Subject:
    """A trained model in the place of the original: what is pruned next, and who teaches."""
    model = load_model(trained) if isinstance(trained, bytes) else trained.clone()
    return replace(subject, model=normalize(model), recipe=recipe)


def _widen_exactly(subject: Subject, structures: Structures, extra: Extra) -> Wide:
    """Widen what can be; if that changes the outputs, every group is tried by itself first."""
    attempt = _Attempts(subject, structures)
    model, errors = attempt(extra)
    refusals: dict[int, Refusal] = {}
    if not attempt.exact(errors):
        for group in np.flatnonzero(extra).tolist():
            _, alone = attempt(np.where(np.arange(len(extra)) == group, extra, 0))
            if not attempt.exact(alone):
                reason = f"wider, it changes the outputs before any training (by {max(alone.values()):.1e})"
                refusals[group] = Refusal(node=structures.groups[group].name, reason=reason)
        extra = np.where(np.isin(np.arange(len(extra)), list(refusals)), 0, extra)
        model, errors = attempt(extra)
    worst = max(errors, key=lambda name: errors[name])
    if not attempt.exact(errors):
        raise WideningDiverged(tensor=worst, error=errors[worst], tolerance=attempt.tolerance)
    grown = discover(model, observe_shapes(model, subject.probe), subject.recipe.prune.protect)
    return Wide(model=model, extra=extra, error=errors[worst], structures=grown, refusals=refusals)


class _Attempts:
    """Widens a model again and again, and compares what comes of it with the original."""

    def __init__(self, subject: Subject, structures: Structures) -> None:
        self._subject, self._structures = subject, structures
        self._expected = outputs_of(subject.model, subject.probe)
        self.tolerance = max(EXACT, subject.rounding)

    def __call__(self, extra: Extra) -> tuple[ir.Model, dict[str, float]]:
        """A widened model, and how far each output is from the original's: infinitely, if it cannot run."""
        copies = copies_of(self._structures, extra)
        model = widen(self._subject.model, self._structures, copies, self._subject.recipe.seed)
        try:
            outputs = outputs_of(model, self._subject.probe)
        except ModelError:
            return model, dict.fromkeys(self._expected, inf)
        return model, {name: relative_error(outputs[name], y) for name, y in self._expected.items()}

    def exact(self, errors: Mapping[str, float]) -> bool:
        """Whether the function is the same but for rounding."""
        return all(error <= self.tolerance for error in errors.values())
