"""What a latency budget is estimated from: the table of a model on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sosp_core.bench.alone import Setting, fastest_kernels, run_alone
from sosp_core.bench.compare import fill
from sosp_core.config import PruneConfig
from sosp_core.cost.latency import SECONDS, Curve, LatencyModel, clock_of
from sosp_core.cost.segments import Anatomy
from sosp_core.runtime.observe import observe_shapes
from sosp_core.runtime.session import Array, serialize, to_proto
from sosp_core.stages.subject import Subject
from sosp_core.structures.structures import Group, Structures

WHOLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """A latency model, and the widths that are worth having.

    Attributes:
        setting: Where latency is judged.
        feeds: A batch for it.
        curves: By group.
    """

    model: LatencyModel
    setting: Setting
    feeds: Mapping[str, Array]
    curves: tuple[Curve, ...]

    def widths(self, groups: Sequence[Group]) -> dict[int, tuple[int, ...]]:
        """For ``Rules``: by a group's first structure, the numbers that no wider one beats."""
        return {int(g.members[0]): c.worth for g, c in zip(groups, self.curves, strict=True)}


def timetable(subject: Subject, structures: Structures) -> Timetable:
    """Take the model apart and time its pieces, each group over the widths it might get.

    Cost: about a second for the whole network; some tens of milliseconds for each distinct piece
    at each width. The activations of one batch are held at once.
    """
    config = subject.recipe.benchmark
    setting = Setting.of(config, subject.interface.batch)
    feeds = {name: fill(array, setting.batch) for name, array in subject.feeds(setting.batch).items()}
    anatomy = Anatomy(to_proto(subject.model), structures, observe_shapes(subject.model, feeds))
    times = run_alone(serialize(subject.model), feeds, setting, WHOLE_S)
    measure = partial(fastest_kernels, setting=setting, seconds=SECONDS)
    model = LatencyModel(
        anatomy,
        structures.groups,
        clock_of(anatomy, measure),
        whole_s=min(times),
        median_s=float(np.median(times)),
    )
    curves = tuple(
        model.curve(number, candidates(len(group.members), subject.recipe.prune))
        for number, group in enumerate(structures.groups)
    )
    return Timetable(model=model, setting=setting, feeds=feeds, curves=curves)


def candidates(n: int, prune: PruneConfig) -> list[int]:
    """Numbers of structures to time a group of ``n`` at: at most some thirty."""
    step = prune.round_to
    if step is None:
        step = next((s for s, most in ((1, 16), (2, 32), (4, 128), (8, 256)) if n <= most), -(-n // 256) * 8)
    fewest = max(1, n - int(n * prune.max_layer_ratio + 1e-9))
    return [w for w in range(step, n, step) if w >= fewest]
