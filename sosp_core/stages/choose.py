"""Stages ``discover`` and ``score``: what can go, and what shall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite

import torch

from sosp_core.config import PruneConfig
from sosp_core.cost.model import CostModel, measure
from sosp_core.errors import Cancelled, NothingToCompress, RecipeInvalid, TargetUnreachable
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.progress import Progress
from sosp_core.runtime.observe import Shapes, observe_shapes
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.select.greedy import Rules, require_reachable, schedule, shrink, smallest
from sosp_core.select.plan import Plan, layer_cuts
from sosp_core.stages.subject import Subject
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import GatedModel, gate_model
from sosp_core.structures.structures import Alive, Structures

STAGE = "score"
#: Widths to try, coarsest first, where the recipe leaves the choice.
ROUNDINGS = (8, 4, 2, 1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a plan may choose from, and how far it has to go.

    Attributes:
        total: Of the budget's metric in the original.
        target: Of it, at most, in the slim model.
        rules: What a plan may not do.
    """

    structures: Structures
    shapes: Shapes
    cost: CostModel
    total: int
    target: int
    rules: Rules

    def gated(self, subject: Subject) -> GatedModel:
        """The model with a gate for each structure."""
        return gate_model(subject.model, self.structures, self.shapes)

    def plan(self, alive: Alive) -> Plan:
        """The decision that a mask stands for."""
        return Plan(
            alive=alive,
            before=measure(self.structures, self.structures.all_alive()),
            after=measure(self.structures, alive),
            layers=layer_cuts(self.structures, alive),
        )


def offer(subject: Subject) -> Choice:
    """Find the structures, and check the budget before any score is taken.

    Raises:
        NothingToCompress: No structure may go; every refusal is listed.
        RecipeInvalid: The model is within the budget as it is.
        TargetUnreachable: No plan is.
    """
    prune = subject.recipe.prune
    shapes = observe_shapes(subject.model, subject.probe)
    structures = discover(subject.model, shapes, prune.protect)
    if structures.count == 0:
        raise NothingToCompress(refusals=[str(r) for r in structures.refusals])
    cost = CostModel(structures, prune.budget.metric)
    total = cost.total(cost.kept(structures.all_alive()))
    target = prune.budget.target(total)
    if target >= total:
        reason = f"the model already has only {total:,} {prune.budget.metric}"
        raise RecipeInvalid(field="prune.budget.at_most", reason=reason)
    rules = _rules(prune, structures, cost, target)
    return Choice(structures=structures, shapes=shapes, cost=cost, total=total, target=target, rules=rules)


def _rules(prune: PruneConfig, structures: Structures, cost: CostModel, target: int) -> Rules:
    """The rounding asked for, or else the coarsest with which the budget can be met."""
    candidates = ROUNDINGS if prune.round_to is None else (prune.round_to,)
    rules = [Rules(round_to=n, max_layer_ratio=prune.max_layer_ratio) for n in candidates]
    for rule in rules:
        if smallest(cost, structures.groups, rule) <= target:
            return rule
    require_reachable(cost, structures.groups, rules[-1], target, prune.budget.metric)
    return rules[-1]


def choose(subject: Subject, choice: Choice, progress: Progress, device: torch.device) -> Plan:
    """Prune in rounds: prices are taken anew at the mask of the round before.

    Raises:
        TargetUnreachable: What the rules leave is still too much.
        Cancelled: Between two rounds.
    """
    prune, structures = subject.recipe.prune, choice.structures
    scene = Scene(
        model=subject.model,
        structures=structures,
        space=_once(lambda: _space(subject, choice, device)),
        seed=subject.recipe.seed,
    )
    alive = structures.all_alive()
    steps = schedule(choice.total, choice.target, prune.rounds)
    for number, target in enumerate(steps):
        if progress.cancelled():
            raise Cancelled(stage=STAGE)
        progress.report(STAGE, number / len(steps), f"round {number + 1} of {len(steps)}")
        prices = criteria[prune.method](scene, alive)
        measure = partial(_loss, scene)
        alive = shrink(prices, alive, structures.groups, choice.cost, target, choice.rules, measure)
    left = choice.cost.total(choice.cost.kept(alive))
    if left > choice.target:
        raise TargetUnreachable(metric=str(prune.budget.metric), asked=choice.target, reachable=left)
    return choice.plan(alive)


def _space(subject: Subject, choice: Choice, device: torch.device) -> MaskSpace:
    gated = choice.gated(subject)
    fold_batchnorm(gated.model)
    return MaskSpace(
        gated,
        subject.samples(),
        subject.task,
        batch_size=subject.batch(subject.recipe.prune.batch_size),
        device=device,
    )


@torch.no_grad()
def _loss(scene: Scene, alive: Alive) -> float:
    """Mean loss over the calibration samples at a mask; one forward pass."""
    space = scene.space()
    mask, parts = space.mask(alive), list(space.batches())
    total = sum(n for n, _ in parts)
    loss = sum(n * float(space.loss(mask, batch)) for n, batch in parts) / total
    return loss if isfinite(loss) else inf


def _once(make: Callable[[], MaskSpace]) -> Callable[[], MaskSpace]:
    """Build on first use, and only once: criteria that look at weights alone need no network."""
    made: list[MaskSpace] = []

    def get() -> MaskSpace:
        if not made:
            made.append(make())
        return made[0]

    return get
