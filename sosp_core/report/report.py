"""The report of a job; ``to_json`` follows the versioned schema ``sosp.report/1``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sosp_core import units
from sosp_core.bench.compare import Comparison
from sosp_core.config import Metric
from sosp_core.export.result import Exported
from sosp_core.finetune.evaluate import Quality
from sosp_core.finetune.history import History
from sosp_core.report.block import Block
from sosp_core.report.expansion import Expansion
from sosp_core.report.step import Step
from sosp_core.report.training import training_facts
from sosp_core.select.limits import Meant
from sosp_core.select.plan import LatencyBudget, LayerCut
from sosp_core.select.search import Tried

SCHEMA = "sosp.report/1"


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Largest relative errors of the proofs a job has to pass.

    Attributes:
        conversion: Torch network against ONNX Runtime, on the original.
        surgery: Before any training, the slim model against the masked original; of a network that
            was only widened, the wide model against the original.
        write_back: Written model in ONNX Runtime against the trained network.
    """

    conversion: float
    surgery: float
    write_back: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model of a sweep.

    Attributes:
        model: Its file.
        keep: The share of the budget's metric that was asked for.
        costs: Metrics.
        drop: How far the judged metric fell.
        best: No other model of the sweep is as quick and as good.
        chosen: It is ``model.onnx``.
    """

    model: str
    keep: float
    costs: Mapping[Metric, int]
    file_bytes: int
    quality: Quality
    drop: float
    benchmark: tuple[Comparison, ...]
    latency_budget: LatencyBudget | None
    best: bool
    chosen: bool

    def to_json(self) -> dict[str, Any]:
        """The entry in the report."""
        return {
            "model": self.model,
            "keep": self.keep,
            **{str(k): v for k, v in self.costs.items()},
            "file_bytes": self.file_bytes,
            **asdict(self.quality),
            "drop": self.drop,
            "latency": [c.to_json() for c in self.benchmark],
            "latency_budget": _told(self.latency_budget),
            "best": self.best,
            "chosen": self.chosen,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Before and after.

    Attributes:
        costs_before: Metrics of the original.
        costs_after: Metrics of the slim model.
        file_before: Bytes of the original file.
        file_after: Bytes of the slim file.
        judged_on: ``evaluation`` data if given, else ``held-out`` calibration samples.
        quality_before: Of the original.
        quality_pruned: Of the slim model before fine-tuning, which is the last one where there were several.
        quality_after: Of the slim model as handed out.
        network: The graph, layer by layer; each names those it reads by their places in this list.
        exports: Further forms of the slim model.
        latency_budget: How it was met, if there was one.
        limits: What the recipe says about single layers.
        tries: Budgets that were tried under ``max_drop``.
        points: The models of a sweep.
        steps: The cuts of a gradual pruning; empty where there was one cut.
        timings: Seconds by stage.
        versions: Of the libraries that took part.
        expansion: Of the modes that widen.
    """

    recipe: Mapping[str, Any]
    model_sha256: str
    costs_before: Mapping[Metric, int]
    costs_after: Mapping[Metric, int]
    file_before: int
    file_after: int
    judged_on: str
    samples_judged: int
    quality_before: Quality
    quality_pruned: Quality
    quality_after: Quality
    benchmark: tuple[Comparison, ...]
    exports: tuple[Exported, ...] = ()
    layers: tuple[LayerCut, ...]
    network: tuple[Block, ...] = ()
    refusals: tuple[str, ...]
    training: History
    checks: Checks
    warnings: tuple[str, ...]
    timings: Mapping[str, float]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    latency_budget: LatencyBudget | None = None
    limits: tuple[Meant, ...] = ()
    tries: tuple[Tried, ...] = ()
    points: tuple[Point, ...] = ()
    steps: tuple[Step, ...] = ()
    expansion: Expansion | None = None

    def to_json(self) -> dict[str, Any]:
        """All facts, ready for JSON. Times in seconds, sizes in bytes, shares from 0 to 1."""
        return {
            "schema": SCHEMA,
            "summary": [list(row) for row in self.rows()],
            "recipe": dict(self.recipe),
            "model_sha256": self.model_sha256,
            "before": self._side(self.costs_before, self.file_before, self.quality_before),
            "after": self._side(self.costs_after, self.file_after, self.quality_after),
            "pruned_before_finetuning": asdict(self.quality_pruned),
            "judged_on": {"data": self.judged_on, "samples": self.samples_judged},
            "latency": [c.to_json() for c in self.benchmark],
            "exports": [e.to_json() for e in self.exports],
            "layers": [asdict(c) for c in self.layers],
            "network": [asdict(block) for block in self.network],
            "refusals": list(self.refusals),
            "limits": [m.to_json() for m in self.limits],
            "latency_budget": _told(self.latency_budget),
            "tries": [asdict(t) for t in self.tries],
            "sweep": [p.to_json() for p in self.points],
            "steps": [s.to_json() for s in self.steps],
            "training": training_facts(self.training),
            "checks": asdict(self.checks),
            "expansion": self.expansion.to_json() if self.expansion else None,
            "warnings": list(self.warnings),
            "timings_s": {k: round(v, 3) for k, v in self.timings.items()},
            "versions": dict(self.versions),
            "machine": dict(self.machine),
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table for people: (name, before, after, change)."""
        b, a = self.costs_before, self.costs_after
        rows = [
            _amount("Parameters", b[Metric.PARAMS], a[Metric.PARAMS], units.count),
            _amount("MACs per sample", b[Metric.MACS], a[Metric.MACS], units.count),
            _amount("File size", self.file_before, self.file_after, units.size),
        ]
        rows += _quality_rows(self.quality_before, self.quality_after)
        rows += self._rival()
        rows += [_latency_row(c) for c in self.benchmark]
        for form in self.exports:
            also = f" ({form.kind})"
            rows.append(_amount(f"File size{also}", self.file_before, form.file_bytes, units.size))
            rows += _quality_rows(self.quality_before, form.quality, also)
            rows += [_latency_row(c, also) for c in form.benchmark]
        return rows

    def _rival(self) -> list[tuple[str, str, str, str]]:
        """What the same parameters are worth if all layers get their part of them."""
        rival = self.expansion.rival() if self.expansion else None
        if rival is None:
            return []
        return _quality_rows(self.quality_before, rival.quality, ", all layers widened alike")

    def _side(self, costs: Mapping[Metric, int], file: int, quality: Quality) -> dict[str, Any]:
        return {**{str(k): v for k, v in costs.items()}, "file_bytes": file, **asdict(quality)}


def _told(budget: LatencyBudget | None) -> dict[str, Any] | None:
    return None if budget is None else asdict(budget)


def _amount(name: str, before: int, after: int, show: Any) -> tuple[str, str, str, str]:
    return name, show(before), show(after), f"{(after / max(before, 1) - 1) * 100:+.1f} %"


def _quality_rows(before: Quality, after: Quality, also: str = "") -> list[tuple[str, str, str, str]]:
    rows = []
    if before.accuracy is not None and after.accuracy is not None:
        change = f"{(after.accuracy - before.accuracy) * 100:+.1f} points"
        told = units.percent(before.accuracy), units.percent(after.accuracy)
        rows.append((f"Accuracy{also}", *told, change))
    rows.append((f"Fidelity to the original{also}", units.percent(1.0), units.percent(after.fidelity), ""))
    return rows


def _latency_row(c: Comparison, also: str = "") -> tuple[str, str, str, str]:
    change = f"{c.speedup:.2f}x faster [{c.speedup_low:.2f}, {c.speedup_high:.2f}]"
    if not c.conclusive:
        change = f"no difference beyond noise [{c.speedup_low:.2f}, {c.speedup_high:.2f}]"
    elif c.speedup < 1:
        change = f"{1 / c.speedup:.2f}x slower [{1 / c.speedup_high:.2f}, {1 / c.speedup_low:.2f}]"
    name = f"Median latency, batch {c.batch_size}, {c.threads} thread{'s' if c.threads > 1 else ''}{also}"
    return name, units.milliseconds(c.before.median), units.milliseconds(c.after.median), change
