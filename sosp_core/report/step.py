"""One cut of several on the way to the budget, with the training after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sosp_core.config import Metric
from sosp_core.finetune.evaluate import Quality
from sosp_core.finetune.history import History
from sosp_core.report.training import training_facts


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of a gradual pruning did.

    Attributes:
        target: Of the budget's metric, at most.
        costs: What it left of every metric.
        pruned: Quality once it had been cut.
        quality: Quality once it had been trained.
    """

    target: int
    costs: Mapping[Metric, int]
    pruned: Quality
    quality: Quality
    training: History

    def to_json(self) -> dict[str, Any]:
        """The entry in the report."""
        return {
            "target": self.target,
            **{str(k): v for k, v in self.costs.items()},
            **asdict(self.quality),
            "pruned_before_finetuning": asdict(self.pruned),
            "training": training_facts(self.training),
        }
