"""The stages of a job, in order. No arithmetic here.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → report. Every hand-over is proved before the next stage begins.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.bench.compare import Comparison, compare
from sosp_core.config import PruneConfig, Recipe
from sosp_core.convert.check import TOLERANCE, require_same_function
from sosp_core.convert.network import Network
from sosp_core.cost.model import CostModel, measure
from sosp_core.data.dataset import Dataset, load_dataset
from sosp_core.data.task import Task, resolve_task
from sosp_core.errors import (
    Cancelled,
    NothingToCompress,
    OutOfMemory,
    RecipeInvalid,
    SurgeryDiverged,
    TargetUnreachable,
    WriteBackDiverged,
)
from sosp_core.finetune.evaluate import Quality, evaluate
from sosp_core.finetune.features import shared_features
from sosp_core.finetune.loop import History, Trainer
from sosp_core.finetune.write_back import write_back
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.ir.interface import Interface, interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.machine import describe_machine, library_versions, pick_device
from sosp_core.progress import NullProgress, Progress
from sosp_core.report.page import render_html
from sosp_core.report.report import Checks, Report
from sosp_core.runtime.observe import Shapes, observe_shapes
from sosp_core.runtime.session import Array, open_session, run, serialize
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.select.greedy import Rules, require_reachable, schedule, shrink, smallest
from sosp_core.select.plan import Plan, layer_cuts
from sosp_core.structures.discover import discover
from sosp_core.structures.gating import gate_model
from sosp_core.structures.structures import Alive, Structures
from sosp_core.surgery.apply import slim
from sosp_core.surgery.compensate import compensate
from sosp_core.surgery.verify import outputs_of, require_close, require_loadable

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

#: Masked original against slim model: the same float32 sums in another order. Seen 3e-7.
SURGERY_TOLERANCE = 1e-4
#: Samples that observe shapes and carry the parity checks.
PROBE_SAMPLES = 8
EVALUATION_BATCH = 64
#: Widths to try, coarsest first, where the recipe leaves the choice.
ROUNDINGS = (8, 4, 2, 1)


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
        return _Job(model, data, recipe, out_dir, evaluation, progress, target).run()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(device=str(target)) from error


class _Job:
    """One run of the stages, and what they hand to one another."""

    def __init__(
        self,
        source: Path | bytes,
        data: Path,
        recipe: Recipe,
        out_dir: Path,
        evaluation: Path | None,
        progress: Progress,
        device: torch.device,
    ) -> None:
        self._source, self._data_path, self._evaluation_path = source, data, evaluation
        self._recipe, self._out, self._progress, self._device = recipe, out_dir, progress, device
        self._timings: dict[str, float] = {}
        self._warnings: list[str] = []

    def run(self) -> Outcome:
        with self._stage("load"):
            self._load()
        with self._stage("convert"):
            conversion = require_same_function(Network(self._model), self._model, self._probe)
            self._task = self._measured_task()
        with self._stage("discover"):
            self._discover()
        with self._stage("score"):
            plan = self._plan(self._score())
        with self._stage("cut"):
            cut, surgery = self._cut(plan.alive)
        with self._stage("finetune"):
            student, history = self._finetune(cut, plan.alive)
        with self._stage("write"):
            content, write_back_error = self._write(student, cut)
        with self._stage("evaluate"):
            judged_on, qualities = self._judge(serialize(cut), content)
        with self._stage("benchmark"):
            timed = self._benchmark(content)
        checks = Checks(conversion=conversion, surgery=surgery, write_back=write_back_error)
        with self._stage("report"):
            report = self._report(plan, content, qualities, judged_on, timed, history, checks)
            return self._save(content, plan, report)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        if self._progress.cancelled():
            raise Cancelled(stage=name)
        self._progress.report(name, 0.0)
        started = time.monotonic()
        yield
        self._timings[name] = time.monotonic() - started
        self._progress.report(name, 1.0)

    def _load(self) -> None:
        self._original = self._source if isinstance(self._source, bytes) else self._source.read_bytes()
        self._model = normalize(load_model(self._original))
        self._interface: Interface = interface(self._model)
        self._data = load_dataset(self._data_path, self._interface)
        self._evaluation = (
            load_dataset(self._evaluation_path, self._interface) if self._evaluation_path else None
        )
        self._task = resolve_task(self._model, self._interface, self._data, self._recipe.objective)
        self._probe: dict[str, Array] = self._feeds(
            self._data, self._interface.batch or min(PROBE_SAMPLES, len(self._data))
        )
        if all(np.ptp(a.reshape(-1)) == 0 for a in self._probe.values()):
            self._warnings.append("calibration_degenerate: the first samples hold one value everywhere")

    def _measured_task(self) -> Task:
        """The task with the spread of the original's outputs, which scales errors of values."""
        original = _forward(serialize(self._model), self._interface)
        size = self._interface.batch or EVALUATION_BATCH
        return self._task.measured_on([original(part) for part in self._samples().batches(size)])

    def _discover(self) -> None:
        prune = self._recipe.prune
        self._shapes: Shapes = observe_shapes(self._model, self._probe)
        self._structures: Structures = discover(self._model, self._shapes, prune.protect)
        if self._structures.count == 0:
            raise NothingToCompress(refusals=[str(r) for r in self._structures.refusals])
        self._cost = CostModel(self._structures, prune.budget.metric)
        total = self._cost.total(self._cost.kept(self._structures.all_alive()))
        self._total, self._target = total, prune.budget.target(total)
        if self._target >= total:
            reason = f"the model already has only {total:,} {prune.budget.metric}"
            raise RecipeInvalid(field="prune.budget.at_most", reason=reason)
        self._rules = self._choose_rules(prune)

    def _choose_rules(self, prune: PruneConfig) -> Rules:
        """The rounding asked for, or else the coarsest with which the budget can be met."""
        groups, metric = self._structures.groups, prune.budget.metric
        candidates = ROUNDINGS if prune.round_to is None else (prune.round_to,)
        rules = [Rules(round_to=n, max_layer_ratio=prune.max_layer_ratio) for n in candidates]
        for rule in rules:
            if smallest(self._cost, groups, rule) <= self._target:
                return rule
        require_reachable(self._cost, groups, rules[-1], self._target, metric)
        return rules[-1]

    def _score(self) -> Alive:
        """Prune in rounds: prices are taken anew at the mask of the round before."""
        prune, structures = self._recipe.prune, self._structures
        scene = Scene(
            model=self._model, structures=structures, space=_once(self._space), seed=self._recipe.seed
        )
        alive = structures.all_alive()
        steps = schedule(self._total, self._target, prune.rounds)
        for number, target in enumerate(steps):
            if self._progress.cancelled():
                raise Cancelled(stage="score")
            message = f"round {number + 1} of {len(steps)}"
            self._progress.report("score", number / len(steps), message)
            prices = criteria[prune.method](scene, alive)
            alive = shrink(prices, alive, structures.groups, self._cost, target, self._rules)
        left = self._cost.total(self._cost.kept(alive))
        if left > self._target:
            raise TargetUnreachable(metric=str(prune.budget.metric), asked=self._target, reachable=left)
        return alive

    def _space(self) -> MaskSpace:
        gated = gate_model(self._model, self._structures, self._shapes)
        fold_batchnorm(gated.model)
        return MaskSpace(
            gated,
            self._samples(),
            self._task,
            batch_size=self._interface.batch or self._recipe.prune.batch_size,
            device=self._device,
        )

    def _samples(self) -> Dataset:
        """The calibration samples that scores and compensation read: drawn once, in data order."""
        batch = self._interface.batch or 1
        drawn = np.random.default_rng(self._recipe.seed).permutation(len(self._data))
        wanted = min(max(self._recipe.prune.samples, batch), len(self._data))
        return self._data.take(np.sort(drawn[: wanted - wanted % batch]))

    def _plan(self, alive: Alive) -> Plan:
        structures = self._structures
        return Plan(
            alive=alive,
            before=measure(structures, structures.all_alive()),
            after=measure(structures, alive),
            layers=layer_cuts(structures, alive),
        )

    def _cut(self, alive: Alive) -> tuple[ir.Model, float]:
        cut = slim(self._model, self._structures, alive)
        masked = gate_model(self._model, self._structures, self._shapes).mask(alive)
        error = require_close(
            outputs_of(cut, self._probe), outputs_of(masked, self._probe), SURGERY_TOLERANCE, SurgeryDiverged
        )
        if self._recipe.prune.compensate:
            cut = self._compensate(cut, alive)
        return cut, error

    def _compensate(self, cut: ir.Model, alive: Alive) -> ir.Model:
        network = Network(self._model).to(self._device)
        samples = self._samples()
        size = self._interface.batch or self._recipe.prune.batch_size
        batches = (
            [torch.as_tensor(part.inputs[n]).to(self._device) for n in network.input_names]
            for part in samples.batches(size)
        )
        return compensate(self._model, cut, self._structures, alive, network, batches)

    def _finetune(self, cut: ir.Model, alive: Alive) -> tuple[Network, History]:
        student, teacher = Network(cut), Network(fold_batchnorm(self._model.clone()))
        trainer = Trainer(
            student,
            teacher,
            self._data,
            self._task,
            self._recipe.finetune,
            seed=self._recipe.seed,
            device=self._device,
            progress=self._progress,
            fixed_batch=self._interface.batch,
            features=shared_features(self._structures, alive, student, teacher),
        )
        return student, trainer.run()

    def _write(self, student: Network, cut: ir.Model) -> tuple[bytes, float]:
        student = student.cpu().eval()
        written = write_back(student, cut.clone())
        content = require_loadable(written, self._model)
        with torch.no_grad():
            outputs = student(*(torch.as_tensor(self._probe[n]) for n in student.input_names))
        expected = {name: y.numpy() for name, y in zip(student.output_names, outputs, strict=True)}
        error = require_close(outputs_of(written, self._probe), expected, TOLERANCE, WriteBackDiverged)
        return content, error

    def _judge(self, pruned: bytes, final: bytes) -> tuple[str, tuple[Quality, Quality, Quality]]:
        """Quality of original, pruned and finished model in ONNX Runtime, on the same samples."""
        if self._evaluation is not None:
            name, data = "evaluation", self._evaluation
        else:
            multiple = self._interface.batch or 1
            name, data = (
                "held-out",
                self._data.split(self._recipe.finetune.holdout, self._recipe.seed, multiple)[1],
            )
        task = self._task
        if task.labelled and data.labels is None:
            task = replace(task, labelled=False)
        elif self._evaluation is not None and data.labels is not None:
            # Only for its check: these labels have to fit, too.
            resolve_task(self._model, self._interface, data, self._recipe.objective)
        original = _forward(serialize(self._model), self._interface)
        batch = self._interface.batch or EVALUATION_BATCH
        models = (original, _forward(pruned, self._interface), _forward(final, self._interface))
        first, second, third = (evaluate(m, original, data, task, batch) for m in models)
        self._samples_judged = len(data)
        return name, (first, second, third)

    def _benchmark(self, content: bytes) -> tuple[Comparison, ...]:
        config = self._recipe.benchmark
        feeds = self._feeds(self._data, min(max(config.batch_sizes), len(self._data)))
        fixed = self._interface.batch
        results = compare(serialize(self._model), content, feeds, config, fixed_batch=fixed)
        expected = len(config.threads) * (1 if fixed else len(config.batch_sizes))
        timed: list[Comparison] = []
        for comparison in results:
            timed.append(comparison)
            self._progress.report("benchmark", len(timed) / expected)
        if all(c.conclusive and c.speedup < 1 for c in timed):
            self._warnings.append(
                "slower: no setting of the benchmark ran faster; try prune.round_to = 8 or 16"
            )
        return tuple(timed)

    def _feeds(self, data: Dataset, n: int) -> dict[str, Array]:
        return {name: np.ascontiguousarray(array[:n]) for name, array in data.inputs.items()}

    def _report(
        self,
        plan: Plan,
        content: bytes,
        qualities: tuple[Quality, Quality, Quality],
        judged_on: str,
        timed: tuple[Comparison, ...],
        history: History,
        checks: Checks,
    ) -> Report:
        return Report(
            recipe=asdict(self._recipe),
            model_sha256=hashlib.sha256(self._original).hexdigest(),
            costs_before=plan.before,
            costs_after=plan.after,
            file_before=len(self._original),
            file_after=len(content),
            judged_on=judged_on,
            samples_judged=self._samples_judged,
            quality_before=qualities[0],
            quality_pruned=qualities[1],
            quality_after=qualities[2],
            benchmark=timed,
            layers=plan.layers,
            refusals=tuple(str(r) for r in self._structures.refusals),
            training=history,
            checks=checks,
            warnings=tuple(self._warnings),
            timings=self._timings,
            versions=library_versions(),
            machine=describe_machine(self._device),
        )

    def _save(self, content: bytes, plan: Plan, report: Report) -> Outcome:
        self._out.mkdir(parents=True, exist_ok=True)
        outcome = Outcome(
            model=self._out / "model.onnx",
            report_json=self._out / "report.json",
            report_html=self._out / "report.html",
            plan=self._out / "plan.json",
            report=report,
        )
        outcome.model.write_bytes(content)
        outcome.plan.write_text(json.dumps(plan.to_json(self._structures), indent=1))
        outcome.report_json.write_text(json.dumps(report.to_json(), indent=1))
        outcome.report_html.write_text(render_html(report), encoding="utf-8")
        return outcome


def _once(make: Callable[[], MaskSpace]) -> Callable[[], MaskSpace]:
    """Build on first use, and only once: criteria that look at weights alone need no network."""
    made: list[MaskSpace] = []

    def get() -> MaskSpace:
        if not made:
            made.append(make())
        return made[0]

    return get


def _forward(content: bytes, ports: Interface) -> Callable[[Dataset], Sequence[torch.Tensor]]:
    session = open_session(content)

    def forward(batch: Dataset) -> Sequence[torch.Tensor]:
        outputs = run(session, batch.inputs)
        return [torch.as_tensor(outputs[port.name]) for port in ports.outputs]

    return forward


__all__ = ["STAGES", "Outcome", "compress"]
