"""Stage ``discover``: what can go, what it would save, and whether the budget can be met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sosp_core.config import Metric, PruneConfig
from sosp_core.cost.model import Cost, CostModel, measure
from sosp_core.errors import NothingToCompress, RecipeInvalid, TargetUnreachable
from sosp_core.runtime.observe import Shapes, observe_shapes
from sosp_core.select.greedy import require_reachable, smallest
from sosp_core.select.limits import Meant, limited, protected
from sosp_core.select.plan import Plan, layer_cuts
from sosp_core.select.rules import Bounds, Rules
from sosp_core.stages.subject import Subject
from sosp_core.stages.timetable import Timetable, timetable
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import GatedModel, gate_model
from sosp_core.structures.structures import Alive, Structures
from sosp_core.surgery.branches import Branch, find_branches
from sosp_core.units import NANOSECONDS, amount

#: Widths to try, coarsest first, where the recipe leaves the choice.
ROUNDINGS = (8, 4, 2, 1)
#: Share of a target by which the timetable may err; the clock decides what lies within.
DOUBT = 0.1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a plan may choose from, and how far it has to go.

    Attributes:
        total: Of the budget's metric in the original; nanoseconds for latency.
        target: Of it, at most, in the slim model.
        unit: What both count, in words.
        rules: What a plan may not do.
        meant: What the recipe says about single layers.
        branches: Groups that may go altogether, by number, and what goes with them.
        timetable: What latency is estimated from, if it is the metric.
    """

    structures: Structures
    shapes: Shapes
    cost: Cost
    total: int
    target: int
    unit: str
    rules: Rules
    meant: tuple[Meant, ...] = ()
    branches: Mapping[int, Branch] = field(default_factory=dict)
    timetable: Timetable | None = None

    @property
    def doubt(self) -> float:
        """Share of the target that a plan may exceed by estimate, because the estimate may be wrong."""
        return 0.0 if self.timetable is None else DOUBT

    def gated(self, subject: Subject) -> GatedModel:
        """The model with a gate for each structure."""
        return gate_model(subject.model, self.structures, self.shapes)

    def plan(self, alive: Alive) -> Plan:
        """The decision that a mask stands for."""
        return Plan(
            alive=alive,
            before=measure(self.structures, self.structures.all_alive()),
            after=measure(self.structures, alive),
            layers=layer_cuts(self.structures, alive, self.gone(alive)),
        )

    def gone(self, alive: Alive) -> frozenset[str]:
        """Names of the nodes of all branches of which nothing is left."""
        groups = self.structures.groups
        empty = (b.nodes for b in self.branches.values() if not alive[groups[b.group].members].any())
        return frozenset().union(*empty)


def offer(subject: Subject) -> Choice:
    """Find the structures, and check the budget before any score is taken.

    Raises:
        NothingToCompress: No structure may go; every refusal is listed.
        RecipeInvalid: The model is within the budget as it is, or a pattern matches nothing.
        TargetUnreachable: No plan is.
    """
    prune = subject.recipe.prune
    meant = protected(subject.model, prune.protect)
    shapes = observe_shapes(subject.model, subject.probe)
    structures = discover(subject.model, shapes, prune.protect)
    if structures.count == 0:
        raise NothingToCompress(refusals=[str(r) for r in structures.refusals])
    bounds, limits = limited(subject.model, structures, prune)
    metric, table = prune.budget.metric, None
    cost: Cost
    if metric is Metric.LATENCY:
        table = timetable(subject, structures)
        cost, unit = table.model, NANOSECONDS
    else:
        cost, unit = CostModel(structures, metric), str(metric)
    total = cost.total(cost.kept(structures.all_alive()))
    target = _target(prune, total)
    if target >= total:
        reason = f"the model already has only {amount(total, unit)}"
        raise RecipeInvalid(field="prune.budget.at_most", reason=reason)
    choice = Choice(
        structures=structures,
        shapes=shapes,
        cost=cost,
        total=total,
        target=target,
        unit=unit,
        rules=Rules(),
        meant=(*meant, *limits),
        branches=_branches(subject, structures, shapes, (*meant, *limits)),
        timetable=table,
    )
    rules = _rules(prune, choice, bounds)
    if prune.budget.max_drop is not None:  # no target: as far as the rules go
        target = smallest(cost, structures.groups, rules)
        if target >= total:
            raise TargetUnreachable(metric=unit, asked=total - 1, reachable=total)
    return replace(choice, rules=rules, target=target)


def _branches(
    subject: Subject, structures: Structures, shapes: Shapes, meant: Sequence[Meant]
) -> Mapping[int, Branch]:
    """Groups that may go altogether."""
    if not subject.recipe.prune.takes_branches:
        return {}
    stay = [m.pattern for m in meant if m.limits is None or m.limits.keeps]
    return find_branches(subject.model, structures, shapes, stay)


def _target(prune: PruneConfig, total: int) -> int:
    """The smallest amount that any plan of the job has to reach; half where the job finds it out."""
    return int(total * min(prune.sweep)) if prune.sweep else prune.budget.target(total)


def _rules(prune: PruneConfig, choice: Choice, bounds: Mapping[int, Bounds]) -> Rules:
    """The rounding asked for, or else the coarsest with which the budget can be met.

    Under a latency budget the widths are those that the clock found worth having.
    """
    groups = choice.structures.groups
    key = [int(g.members[0]) for g in groups]
    falls = {key[b.group]: frozenset(key[g] for g in b.falls) for b in choice.branches.values()}
    candidates = ROUNDINGS if prune.round_to is None else (prune.round_to,)
    widths = {} if choice.timetable is None else choice.timetable.widths(groups)
    rules = [
        Rules(round_to=n, max_layer_ratio=prune.max_layer_ratio, bounds=bounds, widths=widths, falls=falls)
        for n in (candidates[-1:] if widths else candidates)
    ]
    for rule in rules:
        if smallest(choice.cost, groups, rule) <= choice.target:
            return rule
    if prune.budget.max_drop is None:
        require_reachable(choice.cost, groups, rules[-1], choice.target, choice.unit, choice.doubt)
    return rules[-1]
