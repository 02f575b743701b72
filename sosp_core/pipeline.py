"""The way in: a recipe's mode, run on a device. No arithmetic here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from sosp_core.checkpoints import Checkpoints, NoCheckpoints
from sosp_core.config import Mode, Recipe
from sosp_core.errors import OutOfMemory
from sosp_core.machine import pick_devices
from sosp_core.modes.bottlenecks import bottlenecks
from sosp_core.modes.expand_prune import expand_prune
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.prune import prune
from sosp_core.modes.run import Run, Source
from sosp_core.modes.sweep import sweep
from sosp_core.progress import NullProgress, Progress

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
    "export",
    "report",
)

MODES: Mapping[Mode, Callable[[Run, Source], Outcome]] = {
    Mode.PRUNE: prune,
    Mode.SWEEP: sweep,
    Mode.BOTTLENECKS: bottlenecks,
    Mode.EXPAND_PRUNE: expand_prune,
}


def compress(
    model: Path | bytes,
    data: Path,
    recipe: Recipe,
    *,
    out_dir: Path,
    evaluation: Path | None = None,
    progress: Progress = NullProgress(),  # noqa: B008 (stateless)
    device: str | None = None,
    checkpoints: Checkpoints = NoCheckpoints(),  # noqa: B008 (stateless)
) -> Outcome:
    """Compress an ONNX model.

    Args:
        model: The model file, or its content.
        data: Calibration data; see ``sosp_core.data.read`` for the formats.
        recipe: What to do.
        out_dir: Folder for ``model.onnx``, ``report.json``, ``report.html`` and ``plan.json``.
        evaluation: Data to judge by; held-out calibration samples otherwise.
        progress: Told of every stage, asked whether to stop.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None takes a GPU if there is one. Several, joined by
            commas, train together, each on a part of every batch.
        checkpoints: Where finished stages are kept: the same call after a crash goes on from there,
            and ends with the same file.

    Raises:
        InputError: Model, data or recipe cannot be used.
        CheckFailed: A result did not prove itself.
        TrainingDiverged: Fine-tuning did not stay finite.
        OutOfMemory: On the device named.
        DeviceAbsent: ``device`` names one that is not there.
        DeviceLost: One of several devices is gone.
        Cancelled: ``progress`` asked to stop.
    """
    devices = pick_devices(device)
    run = Run(recipe=recipe, out=out_dir, progress=progress, devices=devices, checkpoints=checkpoints)
    source = Source(model=model, data=data, evaluation=evaluation)
    try:
        return MODES[recipe.mode](run, source)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(device=str(run.device)) from error


__all__ = ["MODES", "STAGES", "Outcome", "compress"]
