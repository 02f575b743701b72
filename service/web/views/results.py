"""What came of a job: its report, chosen and worded for a page.

A report may come from an older or newer worker: what it lacks is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from markupsafe import Markup

from service.schemas import ArtifactView
from service.web import words
from service.web.views.charts import Bar, Plane, Span, bars, plane, spans
from sosp_core import units
from sosp_core.report.block import Block
from sosp_core.report.charts.network import MOST_DRAWN, network

LARGEST = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Both models timed in one setting."""

    setting: str
    before: Span
    after: Span
    speedup: float
    interval: str
    conclusive: bool
    p95: str
    throughput: str


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A check every job has to pass, and the error it allowed and found."""

    title: str
    error: str


PROOFS = {
    "conversion": "The network computes what ONNX Runtime computes",
    "surgery": "The slim model equals the masked original",
    "write_back": "The file computes what was trained",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A report for people.

    Attributes:
        rows: Name, before, after and change, worded by the core.
        headline: Name, value and note of what matters most.
        sweep: Quality against speed of the models of a sweep, if there are two.
        curve: The quality while training went on, if there are two points of it.
        network: The graph, layer by layer; empty in reports of older workers.
        stages: Name, seconds and share of the longest of each stage.
    """

    headline: list[tuple[str, str, str]]
    rows: list[tuple[str, str, str, str]]
    judged_on: str
    widths: list[Bar]
    network: list[Block]
    latency: list[Latency]
    curve: Plane | None
    curve_of: str
    sweep: Plane | None
    stages: list[tuple[str, float, float]]
    refusals: list[str]
    warnings: list[str]
    proofs: list[Proof]
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The result in a ``report.json``; None if it is no such report."""
        try:
            if path.stat().st_size > LARGEST:
                return None
            facts = json.loads(path.read_text("utf-8"))
            return cls.of(facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """The result a report tells of."""
        judged, timings = facts["judged_on"], facts["timings_s"]
        slowest = max(timings.values(), default=0) or 1
        curve_of, curve = _curve(facts)
        return cls(
            headline=_headline(facts),
            rows=[(row[0], row[1], row[2], row[3]) for row in facts["summary"]],
            judged_on=f"{judged['samples']:,} samples of the {judged['data']} data",
            widths=bars(
                ((layer["node"], layer["before"], layer["after"]) for layer in facts["layers"]),
                _bottlenecks(facts.get("expansion")),
            ),
            network=[Block.of(block) for block in facts.get("network", [])],
            latency=[_latency(comparison) for comparison in facts["latency"]],
            curve=curve,
            curve_of=curve_of,
            sweep=_sweep(facts.get("sweep") or []),
            stages=[(words.stage(name), took, 100 * took / slowest) for name, took in timings.items()],
            refusals=facts["refusals"],
            warnings=facts["warnings"],
            proofs=[
                Proof(title=title, error=f"{facts['checks'][name]:.1e}")
                for name, title in PROOFS.items()
                if facts["checks"].get(name) is not None
            ],
            facts=facts,
        )

    @property
    def drawing(self) -> Markup:
        """The network as a picture."""
        return network(self.network)

    @property
    def undrawn(self) -> int:
        """How many blocks are in the table only."""
        return max(0, len(self.network) - MOST_DRAWN)

    @property
    def machine(self) -> str:
        """Where it was measured."""
        machine = self.facts.get("machine", {})
        versions = ", ".join(f"{name} {version}" for name, version in self.facts.get("versions", {}).items())
        return (
            f"{machine.get('processor', 'unknown processor')}, {machine.get('cores', '?')} cores; {versions}"
        )


def _bottlenecks(expansion: dict[str, Any] | None) -> set[str]:
    """The nodes that a mode which widens found to limit the network."""
    groups = expansion["diagnosis"]["groups"] if expansion else []
    return {node for group in groups if group["bottleneck"] for node in group["nodes"]}


def _headline(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    before, after = facts["before"], facts["after"]
    told = [
        ("Compute", _left(before.get("macs"), after.get("macs")), "of the multiply-accumulates"),
        ("File", _left(before.get("file_bytes"), after.get("file_bytes")), units.size(after["file_bytes"])),
    ]
    if facts["latency"]:
        best = max(facts["latency"], key=lambda comparison: comparison["speedup"])
        told.append(
            (
                "Speed",
                f"{best['speedup']:.2f}{words.TIMES}",
                f"batch {best['batch_size']}, {_provider(best)}",
            )
        )
    if before.get("accuracy") is not None and after.get("accuracy") is not None:
        points = 100 * (after["accuracy"] - before["accuracy"])
        told.append(("Accuracy", f"{points:+.1f} points", f"now {units.percent(after['accuracy'])}"))
    else:
        told.append(("Fidelity", units.percent(after["fidelity"]), "same answers as the original"))
    return told


def _left(before: float | None, after: float | None) -> str:
    return f"{100 * after / before:.0f} % left" if before and after is not None else "unknown"


def _latency(told: dict[str, Any]) -> Latency:
    before, after = told["before"], told["after"]
    sides = [("before", before["median"], before["p95"]), ("after", after["median"], after["p95"])]
    first, second = spans(sides)
    threads = words.plural(told["threads"], "thread")
    return Latency(
        setting=f"batch {told['batch_size']}, {threads}, {_provider(told)}",
        before=first,
        after=second,
        speedup=told["speedup"],
        interval=f"{told['speedup_low']:.2f} to {told['speedup_high']:.2f}",
        conclusive=told["conclusive"],
        p95=f"{units.milliseconds(before['p95'])} → {units.milliseconds(after['p95'])}",
        throughput=f"{units.count(before['throughput'])} → {units.count(after['throughput'])}",
    )


def _provider(told: dict[str, Any]) -> str:
    return str(told["provider"]).removesuffix("ExecutionProvider")


def _curve(facts: dict[str, Any]) -> tuple[str, Plane | None]:
    points = facts["training"]["points"]
    name = "accuracy" if points and points[0].get("accuracy") is not None else "fidelity"
    # The first of two points of one step is the original, before it was cut.
    known = list({point["step"]: point[name] for point in points if point.get(name) is not None}.items())
    if len(known) < 2:
        return name, None
    told = [("", float(step), float(value), f"step {step}: {units.percent(value)}") for step, value in known]
    return name, plane(told, x_unit="", y_percent=True)


def _sweep(models: list[dict[str, Any]]) -> Plane | None:
    told = []
    for model in models:
        quality = model["fidelity"] if model.get("accuracy") is None else model["accuracy"]
        speed = max((comparison["speedup"] for comparison in model["latency"]), default=None)
        if speed is not None:
            text = f"{model['model']}: {speed:.2f}{words.TIMES}, {units.percent(quality)}"
            told.append((f"{100 * model['keep']:.3g} %", speed, quality, text))
    return plane(told, x_unit=words.TIMES, y_percent=True) if len(told) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file of a job, and what it is for."""

    file: ArtifactView
    title: str
    note: str


DOWNLOADS = {
    "model.onnx": ("Slim model", "Same inputs and outputs as yours"),
    "report.html": ("Report", "To read or print; opens by itself"),
    "report.json": ("Report, for programs", "Every number on this page and more"),
    "model.int8.onnx": ("Quantised model", "The slim model in 8-bit integers"),
    "model.fp16.onnx": ("Half-precision model", "The slim model in float16"),
    "MODEL_CARD.md": ("Model card", "To publish with the model"),
    "plots.zip": ("Plots", "Every picture of the report as SVG"),
    "plan.json": ("Plan", "Which structures stay, group by group"),
}


def downloads(files: list[ArtifactView]) -> list[Download]:
    """The files of a job, what most people want first."""
    order = {name: index for index, name in enumerate(DOWNLOADS)}
    chosen = sorted(files, key=lambda file: order.get(file.name, len(order)))
    return [_download(file) for file in chosen]


def _download(file: ArtifactView) -> Download:
    title, note = DOWNLOADS.get(file.name, (file.name, ""))
    return Download(file=file, title=title, note=note)
