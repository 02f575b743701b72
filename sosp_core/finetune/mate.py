"""A process that trains along: ``python -m sosp_core.finetune.mate FOLDER RANK``.

It is started by ``team`` and lives no longer than who started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
import torch.distributed as dist

from sosp_core.config import FinetuneConfig
from sosp_core.convert.network import Network
from sosp_core.data.axes import Axes
from sosp_core.data.task import Kind, Task
from sosp_core.finetune.exchange import STEP, add_up, blank, hand_out, listen, meet, ready
from sosp_core.finetune.features import Feature, FeatureLoss
from sosp_core.finetune.gradients import Direct, Replayed
from sosp_core.finetune.lesson import Lesson, LessonLoss

ORDER, STUDENT, TEACHER = "order.json", "student.onnx", "teacher.onnx"


def serve(place: Path, rank: int) -> None:
    """Work on a part of every lesson until the leader says stop."""
    told = json.loads((place / ORDER).read_text())
    device, size = torch.device(told["devices"][rank]), len(told["devices"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(told["threads"])
    student, teacher = (
        Network(ir.from_proto(onnx.load(place / name))).on(device) for name in (STUDENT, TEACHER)
    )
    student.train(told["trains"])
    features = [Feature(name, {a: tuple(kept) for a, kept in axes}) for name, axes in told["features"]]
    task = Task(
        kinds=tuple(Kind(kind) for kind in told["kinds"]),
        labelled=told["labelled"],
        variances=tuple(tuple(each) for each in told["variances"]),
        axes=tuple(Axes(**axes) for axes in told["axes"]),
    )
    loss = LessonLoss(
        *(student, teacher),
        task,
        FinetuneConfig(**told["config"]),
        FeatureLoss(features, device) if features else None,
        mixed=told["mixed"],
    )
    gradients = (Replayed if device.type == "cuda" else Direct)(student, loss)
    ready(place, rank).touch()
    meet(place, rank, size, device)
    whole: Lesson | None = None
    while listen(device) == STEP:
        whole = whole or blank(place, device)
        hand_out(student, whole, lead=False)
        own = whole.part(rank, size)
        add_up(student, gradients([own]), len(own) / len(whole))
    dist.destroy_process_group()


def _end_with_the_leader() -> None:
    while os.read(sys.stdin.fileno(), 1):  # until whoever holds the other end closes it, or dies
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    serve(Path(sys.argv[1]), int(sys.argv[2]))
