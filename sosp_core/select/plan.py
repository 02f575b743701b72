"""A plan: which structures stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sosp_core.config import Metric
from sosp_core.cost.latency import Curve
from sosp_core.structures.structures import STAYS, Alive, Structures, kept_count


@dataclass(frozen=True, kw_only=True)
class LayerCut:
    """The width of one weight-bearing node before and after; 0 where its whole branch is gone."""

    node: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Try:
    """One plan under a latency budget; shares of the original's median.

    Attributes:
        low: Lower end of the 95 % interval of the median.
        high: Upper end.
        by: ``median``, or ``fastest`` runs where the median did not settle, or ``processor`` time where
            others had the machine.
    """

    predicted_share: float
    measured_share: float
    low: float
    high: float
    by: str


@dataclass(frozen=True, kw_only=True)
class LatencyBudget:
    """How a latency budget was met, at one setting; shares of the original's median.

    Attributes:
        predicted_share: By the table, for the plan that was taken.
        measured_share: By the clock, before fine-tuning.
        reached: What was measured, as a share of what was asked for.
        met: Whether that is at most some per cent more.
        tries: All plans that were timed, in order.
        entries: Measurements in the table.
        table_s: Seconds they took.
        curves: Time by width of each group, and the widths that were worth having.
    """

    batch_size: int
    threads: int
    provider: str
    original_ms: float
    target_share: float
    predicted_share: float
    measured_share: float
    reached: float
    met: bool
    tries: tuple[Try, ...]
    entries: int
    table_s: float
    curves: tuple[Curve, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> LatencyBudget:
        """The object that ``asdict`` told, by way of JSON."""
        tries = tuple(Try(**t) for t in told["tries"])
        curves = tuple(
            Curve(
                group=c["group"],
                kept=tuple(c["kept"]),
                seconds=tuple(c["seconds"]),
                worth=tuple(c["worth"]),
            )
            for c in told["curves"]
        )
        return cls(**{**told, "tries": tries, "curves": curves})

    def warnings(self) -> list[str]:
        """What to say if the target was missed."""
        if self.met:
            return []
        over = f"{(self.reached - 1) * 100:.1f} %"
        return [f"latency_missed: the nearest plan found takes {over} longer than the budget allows"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The decision, and what it costs.

    Attributes:
        alive: ``[S]``, true for structures that stay.
        before: Every metric of the original.
        after: Every metric of the slim model.
        layers: Widths by node, in graph order.
        latency: How a latency budget was met, if there was one.
    """

    alive: Alive
    before: dict[Metric, int]
    after: dict[Metric, int]
    layers: tuple[LayerCut, ...]
    latency: LatencyBudget | None = None

    def to_json(self, structures: Structures) -> dict[str, Any]:
        """The plan by group: what is kept of each, as positions within the group."""
        return {
            "schema": "sosp.plan/1",
            "before": {str(k): v for k, v in self.before.items()},
            "after": {str(k): v for k, v in self.after.items()},
            "groups": [
                {
                    "name": group.name,
                    "structures": len(group.members),
                    "kept": [int(i) for i in np.flatnonzero(self.alive[group.members])],
                }
                for group in structures.groups
            ],
            "layers": [{"node": c.node, "before": c.before, "after": c.after} for c in self.layers],
            "refusals": [str(r) for r in structures.refusals],
        }


def layer_cuts(structures: Structures, alive: Alive, gone: Collection[str] = ()) -> tuple[LayerCut, ...]:
    """Widths by node under a mask; nodes whose width is fixed for ever are left out.

    Args:
        structures: Of the original.
        alive: The mask.
        gone: Nodes that went with a branch, whatever their width.
    """
    return tuple(
        LayerCut(
            node=layer.node,
            before=len(layer.members),
            after=0 if layer.node in gone else kept_count(layer.members, alive),
        )
        for layer in structures.layers
        if (layer.members != STAYS).any()
    )
