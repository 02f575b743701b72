"""Pruning in rounds, so that every mask on the way can be the start of another plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, isfinite

import numpy as np
import torch
from numpy.typing import NDArray

from sosp_core.config import Metric
from sosp_core.cost.model import CostModel
from sosp_core.data.task import Task
from sosp_core.errors import Cancelled, TargetUnreachable
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.progress import Progress
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.select.greedy import schedule, shrink
from sosp_core.select.regrow import regrow
from sosp_core.select.rules import Rules
from sosp_core.select.wider import take_wider
from sosp_core.stages.offer import Choice
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Alive

STAGE = "score"
#: Share of a latency that a plan may fall short of it: what is given back for less is not worth its time.
LEFT_OVER = 0.03


@dataclass(frozen=True, kw_only=True)
class State:
    """A mask on the way.

    Attributes:
        total: What it leaves of the budget's metric.
        dearness: ``[S]``, of removed structures: the later they went, the more they were worth.
    """

    total: int
    alive: Alive
    dearness: NDArray[np.float64]


class Trail:
    """Masks of one model from the whole network downwards.

    A new target goes on from the nearest mask that exceeds it: budgets that are asked for one after
    the other share their rounds.

    Attributes:
        states: All masks so far, the whole network first. A trail that is given another's goes on as
            that one would.
    """

    def __init__(self, subject: Subject, choice: Choice, progress: Progress, device: torch.device) -> None:
        self._prune, self._choice, self._progress = subject.recipe.prune, choice, progress
        self._criterion = criteria[subject.recipe.method]
        self._capacity = CostModel(choice.structures, Metric.PARAMS)
        self._scene = Scene(
            model=subject.model,
            structures=choice.structures,
            space=_once(lambda: _space(subject, choice, self._criterion.task(subject.task), device)),
            seed=subject.recipe.seed,
        )
        whole = choice.structures.all_alive()
        self.states = [State(total=choice.total, alive=whole, dearness=np.zeros(len(whole)))]

    def reach(self, target: int) -> Alive:
        """The mask that leaves at most ``target``: prices are taken anew at each mask on the way.

        A latency is an estimate: there the smallest mask will do if it is nearly small enough, and
        if anything is gone.

        Raises:
            TargetUnreachable: What the rules leave is still too much, or all of it.
            Cancelled: Between two rounds.
        """
        state = min((s for s in self.states if s.total > target), key=lambda s: s.total, default=None)
        state = state or self.states[0]
        share = (state.total - target) / max(1, self._choice.total - target)
        rounds = max(1, ceil(self._prune.rounds * share))
        for number, aim in enumerate(schedule(state.total, target, rounds)):
            if self._progress.cancelled():
                raise Cancelled(stage=STAGE)
            self._progress.report(STAGE, number / rounds, f"round {number + 1} of {rounds}")
            state = self._shrunk(state, aim, (number + 1) / rounds)
            self.states.append(state)
        doubt = 0.0 if state.alive.all() else self._choice.doubt
        if state.total > target * (1 + doubt):
            unit = self._choice.unit
            raise TargetUnreachable(metric=unit, asked=target, reachable=state.total)
        return state.alive

    def _shrunk(self, state: State, target: int, share: float) -> State:
        choice, groups = self._choice, self._choice.structures.groups
        prices = self._criterion(self._scene, state.alive)
        scores = np.nan_to_num(prices.scores.copy())
        measure = partial(_loss, self._scene)
        rules = choice.rules.eased(share)
        alive = shrink(prices, state.alive, groups, choice.cost, target, rules, measure, self._capacity)
        gone = state.alive & ~alive
        # By round, and within a round by the price it began with.
        dearness = state.dearness.copy()
        order = np.argsort(np.argsort(scores[gone], kind="stable"))
        dearness[gone] = len(self.states) + order / max(1, len(order))
        alive = self._settled(alive, target, rules, dearness, last=share == 1)
        return State(total=choice.cost.total(choice.cost.kept(alive)), alive=alive, dearness=dearness)

    def _settled(
        self, alive: Alive, target: int, rules: Rules, dearness: NDArray[np.float64], *, last: bool
    ) -> Alive:
        """With what went for nothing given back: beyond the last target, or without saving time."""
        cost, groups = self._choice.cost, self._choice.structures.groups
        timed = self._prune.budget.metric is Metric.LATENCY
        left_over = target - cost.total(cost.kept(alive))
        if last and left_over > (target * LEFT_OVER if timed else 0):
            alive = regrow(alive, groups, cost, target, rules, dearness)
        if timed:
            whole = self._choice.structures.all_alive()
            alive = take_wider(alive, whole, groups, cost, rules, dearness)
        return alive


def _space(subject: Subject, choice: Choice, task: Task, device: torch.device) -> MaskSpace:
    gated = choice.gated(subject)
    fold_batchnorm(gated.model)
    return MaskSpace(
        gated,
        subject.samples(),
        task,
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
