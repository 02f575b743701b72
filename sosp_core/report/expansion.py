"""What the modes that widen add to a report: shares by layer, and every network that was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sosp_core.bench.compare import Comparison
from sosp_core.bottleneck.detect import Diagnosis
from sosp_core.config import Metric
from sosp_core.finetune.evaluate import Quality
from sosp_core.finetune.history import History
from sosp_core.report.training import training_facts
from sosp_core.select.plan import LayerCut

#: Names of variants: bottlenecks wider; all layers wider to the same size; before pruning back.
BOTTLENECKS, UNIFORM, EXPANDED = "bottlenecks", "uniform", "expanded"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A widened network, after training.

    Attributes:
        costs: Every metric.
        file: Bytes.
        benchmark: The original against it; empty if it was not timed.
        layers: Widths by node, of the original and of it.
        error: Before training, how far its outputs were from the original's.
    """

    name: str
    costs: Mapping[Metric, int]
    file: int
    quality: Quality
    benchmark: tuple[Comparison, ...]
    layers: tuple[LayerCut, ...]
    training: History
    error: float

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON."""
        return {
            "name": self.name,
            **{str(metric): amount for metric, amount in self.costs.items()},
            "file_bytes": self.file,
            **asdict(self.quality),
            "latency": [c.to_json() for c in self.benchmark],
            "layers": [asdict(cut) for cut in self.layers],
            "training": training_facts(self.training),
            "difference_before_training": self.error,
        }


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """How the network was widened, and what came of it.

    Attributes:
        factor: Of the bottlenecks' widths.
        labelled: Whether labels took part; without, the original is all there is to learn from.
        variants: The one that goes on first.
    """

    diagnosis: Diagnosis
    factor: float
    labelled: bool
    variants: tuple[Variant, ...]

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON."""
        return {
            "diagnosis": self.diagnosis.to_json(),
            "factor": self.factor,
            "labelled": self.labelled,
            "variants": [variant.to_json() for variant in self.variants],
        }

    def bottlenecks(self) -> set[str]:
        """The nodes that limit the network."""
        return {node for group in self.diagnosis.groups if group.bottleneck for node in group.nodes}

    def rival(self) -> Variant | None:
        """The network with all layers widened alike, if it was made."""
        return next((v for v in self.variants if v.name == UNIFORM), None)
