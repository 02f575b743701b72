"""A slim model in the place of the original: what the next step of a gradual pruning works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import onnx_ir as ir
import torch

from sosp_core.cost.model import CostModel
from sosp_core.progress import Progress
from sosp_core.runtime.observe import observe_shapes
from sosp_core.select.greedy import smallest
from sosp_core.select.plan import Plan
from sosp_core.stages.choose import Choice, choose
from sosp_core.stages.cut import Cut, cut
from sosp_core.stages.subject import Subject
from sosp_core.structures.restrict import compose, restrict
from sosp_core.structures.structures import Alive


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What earlier steps have left of the original.

    Attributes:
        subject: The original, and the data.
        choice: What could go from it.
        model: The slim model, trained.
        alive: What is left, of the original's structures.
    """

    subject: Subject
    choice: Choice
    model: ir.Model
    alive: Alive

    def choose(self, target: int, done: float, progress: Progress, device: torch.device) -> Plan:
        """What shall stay of the original; scores are taken at the weights of the slim model.

        Args:
            target: Of the budget's metric, at most.
            done: Share of the way from the original to the budget that ends here.
            progress: Told of every round.
            device: Where scores are taken.

        Raises:
            TargetUnreachable: What the rules leave is still too much.
            Cancelled: Between two rounds.
        """
        prune = self.subject.recipe.prune
        rounds = ceil(prune.rounds / prune.steps)
        recipe = replace(self.subject.recipe, prune=replace(prune, rounds=rounds))
        plan = choose(replace(self._subject, recipe=recipe), self._choice(target, done), progress, device)
        return self.choice.plan(compose(self.alive, plan.alive))

    def cut(self, plan: Plan, device: torch.device) -> Cut:
        """Cut the slim model to a plan about the original.

        Raises:
            SurgeryDiverged: The slimmer model and the masked one disagree; the output is named.
        """
        return cut(self._subject, self._choice(self.choice.target, 1.0), plan.alive[self.alive], device)

    @property
    def _subject(self) -> Subject:
        return replace(self.subject, model=self.model)

    def _choice(self, target: int, done: float) -> Choice:
        """What can go from the slim model; ceilings come down step by step, as they do in rounds."""
        whole = self.choice
        structures = restrict(whole.structures, self.alive)
        cost = CostModel(structures, self.subject.recipe.prune.budget.metric)
        rules = whole.rules.on_rest(whole.structures.groups, structures.groups, done)
        if done < 1:  # what ceilings forbid before they are down is no reason to refuse the budget
            target = max(target, smallest(cost, structures.groups, rules))
        return replace(
            whole,
            structures=structures,
            shapes=observe_shapes(self.model, self.subject.probe),
            cost=cost,
            total=cost.total(cost.kept(structures.all_alive())),
            target=target,
            rules=rules,
        )
