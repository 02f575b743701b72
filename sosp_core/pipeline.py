"""The stages of a job, in order. No arithmetic here.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → report. Every hand-over is proved before the next stage begins.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sosp_core.bench.compare import Comparison
from sosp_core.config import Recipe
from sosp_core.errors import Cancelled, OutOfMemory
from sosp_core.finetune.loop import History
from sosp_core.machine import describe_machine, library_versions, pick_device
from sosp_core.progress import NullProgress, Progress
from sosp_core.report.page import render_html
from sosp_core.report.report import Checks, Report
from sosp_core.runtime.session import serialize
from sosp_core.select.plan import Plan
from sosp_core.stages.choose import Choice, choose, offer
from sosp_core.stages.cut import cut
from sosp_core.stages.judge import Verdict, benchmark, judge, slower
from sosp_core.stages.recover import finetune, write
from sosp_core.stages.subject import Subject, convert, load

STAGES: tuple[str, ...] = (
    "load",
    "convert",
    "discover",
    "score",
    "cut",
    "finetune",
    "write",
    "evaluate",
    "benchmark",
    "report",
)


@dataclass(frozen=True)
class Outcome:
    """What a job leaves in its output folder."""

    model: Path
    report_json: Path
    report_html: Path
    plan: Path
    report: Report


def compress(
    model: Path | bytes,
    data: Path,
    recipe: Recipe,
    *,
    out_dir: Path,
    evaluation: Path | None = None,
    progress: Progress = NullProgress(),  # noqa: B008 (stateless)
    device: str | None = None,
) -> Outcome:
    """Compress an ONNX model.

    Args:
        model: The model file, or its content.
        data: Calibration data; see ``sosp_core.data.read`` for the formats.
        recipe: What to do.
        out_dir: Folder for ``model.onnx``, ``report.json``, ``report.html`` and ``plan.json``.
        evaluation: Data to judge by; held-out calibration samples otherwise.
        progress: Told of every stage, asked whether to stop.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None takes a GPU if there is one.

    Raises:
        InputError: Model, data or recipe cannot be used.
        CheckFailed: A result did not prove itself.
        TrainingDiverged: Fine-tuning did not stay finite.
        OutOfMemory: On the device named.
        Cancelled: ``progress`` asked to stop.
    """
    target = pick_device(device)
    try:
        return _Job(recipe, out_dir, progress, target).run(model, data, evaluation)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(device=str(target)) from error


class _Job:
    """One run of the stages: their clock, and what they hand to one another."""

    def __init__(self, recipe: Recipe, out_dir: Path, progress: Progress, device: torch.device) -> None:
        self._recipe, self._out, self._progress, self._device = recipe, out_dir, progress, device
        self._timings: dict[str, float] = {}

    def run(self, source: Path | bytes, data: Path, evaluation: Path | None) -> Outcome:
        progress, device = self._progress, self._device
        with self._stage("load"):
            subject = load(source, data, evaluation, self._recipe)
        with self._stage("convert"):
            subject, conversion = convert(subject)
        with self._stage("discover"):
            choice = offer(subject)
        with self._stage("score"):
            plan = choose(subject, choice, progress, device)
        with self._stage("cut"):
            slim = cut(subject, choice, plan.alive, device)
        with self._stage("finetune"):
            trained = finetune(subject, choice, slim.model, plan.alive, progress, device)
        with self._stage("write"):
            content, write_back = write(subject, trained)
        with self._stage("evaluate"):
            verdict = judge(subject, serialize(slim.model), content)
        with self._stage("benchmark"):
            timed = benchmark(subject, content, progress)
        checks = Checks(conversion=conversion, surgery=slim.error, write_back=write_back)
        with self._stage("report"):
            report = self._report(subject, choice, plan, content, verdict, timed, trained.history, checks)
            return self._save(content, plan, choice, report)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        if self._progress.cancelled():
            raise Cancelled(stage=name)
        self._progress.report(name, 0.0)
        started = time.monotonic()
        yield
        self._timings[name] = time.monotonic() - started
        self._progress.report(name, 1.0)

    def _report(
        self,
        subject: Subject,
        choice: Choice,
        plan: Plan,
        content: bytes,
        verdict: Verdict,
        timed: tuple[Comparison, ...],
        history: History,
        checks: Checks,
    ) -> Report:
        return Report(
            recipe=asdict(self._recipe),
            model_sha256=hashlib.sha256(subject.original).hexdigest(),
            costs_before=plan.before,
            costs_after=plan.after,
            file_before=len(subject.original),
            file_after=len(content),
            judged_on=verdict.judged_on,
            samples_judged=verdict.samples,
            quality_before=verdict.before,
            quality_pruned=verdict.pruned,
            quality_after=verdict.after,
            benchmark=timed,
            layers=plan.layers,
            refusals=tuple(str(r) for r in choice.structures.refusals),
            training=history,
            checks=checks,
            warnings=(*subject.warnings(), *slower(timed)),
            timings=self._timings,
            versions=library_versions(),
            machine=describe_machine(self._device),
        )

    def _save(self, content: bytes, plan: Plan, choice: Choice, report: Report) -> Outcome:
        self._out.mkdir(parents=True, exist_ok=True)
        outcome = Outcome(
            model=self._out / "model.onnx",
            report_json=self._out / "report.json",
            report_html=self._out / "report.html",
            plan=self._out / "plan.json",
            report=report,
        )
        outcome.model.write_bytes(content)
        outcome.plan.write_text(json.dumps(plan.to_json(choice.structures), indent=1))
        outcome.report_json.write_text(json.dumps(report.to_json(), indent=1))
        outcome.report_html.write_text(render_html(report), encoding="utf-8")
        return outcome


__all__ = ["STAGES", "Outcome", "compress"]
