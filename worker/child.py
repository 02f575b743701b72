"""The process a job runs in: ``python -m worker.child <order>``.

Whatever happens to it, from a segmentation fault to a full memory, costs one attempt and nothing
else. Its standard output and error go to the job's log, its answers to a pipe.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service import recipes
from service.errors import ResultTooLarge, StorageFull
from service.jobs.failure import tell
from service.jobs.overall import overall
from service.jobs.text import clean, finite
from service.lifeline import die_with
from sosp_core.checkpoints import CheckpointFolder
from sosp_core.errors import OutOfMemory, SospError
from worker.confine import Limits, confine
from worker.memory import exhausted_device
from worker.wire import INSPECTION, Order

INTERNAL = {
    "code": "internal",
    "detail": "an internal error occurred; the worker's log has the details",
    "details": {},
    "retryable": False,
}


class PipeProgress:
    """A ``Progress`` that writes to the supervisor's pipe; SIGTERM means that the user cancelled."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._cancelled = pipe, threading.Event()
        os.set_inheritable(pipe, False)
        signal.signal(signal.SIGTERM, lambda number, frame: self._cancelled.set())

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Pass a report on."""
        told = {
            "stage": clean(stage, 64),
            "progress": finite(float(done)) or 0.0,
            "overall": overall(stage, done),
            "message": clean(message),
            "eta_s": finite(eta_s),
            "metrics": finite(dict(metrics or {})),
        }
        self.send({"progress": told})

    def cancelled(self) -> bool:
        """Whether the supervisor asked to stop."""
        return self._cancelled.is_set()

    def send(self, message: dict[str, Any]) -> None:
        """Write one line; the supervisor reads for as long as we live."""
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._pipe, line) :]


def run(order: Order, progress: PipeProgress) -> dict[str, Any]:
    """Compress, and return what to tell the supervisor."""
    if order.recipe is None:
        return _look_at(Path(order.model), Path(order.out))
    from sosp_core import compress  # loads torch and ONNX Runtime: here, and nowhere else in a worker

    outcome = compress(
        Path(order.model),
        Path(order.data),
        recipes.parse(order.recipe),
        out_dir=Path(order.out),
        evaluation=None if order.evaluation is None else Path(order.evaluation),
        progress=progress,
        device=order.devices or None,
        checkpoints=CheckpointFolder(Path(order.checkpoints), order.checkpoint_every_s),
    )
    return {"done": {"metrics": {"summary": finite(outcome.report.rows())}}}


def _look_at(model: Path, out: Path) -> dict[str, Any]:
    """Inspect a model; what was found goes to a file, since it may be longer than a message."""
    from sosp_core.inspection import inspect

    found = finite(inspect(model).to_json())
    (out / INSPECTION).write_text(json.dumps(found), "utf-8")
    return {"done": {"metrics": {}}}


def guarded(order: Order, progress: PipeProgress) -> dict[str, Any]:
    """``run``, with every error told instead of raised."""
    try:
        return run(order, progress)
    except SospError as error:
        return {"error": tell(error)}
    except OSError as error:
        traceback.print_exc()
        return {"error": _told_of_files(error, order)}
    # The one place where any exception is caught: this is the border of the job's process, and an
    # error that is not told would look like a crash. The traceback goes to the job's log.
    except Exception as error:
        device = exhausted_device(error)
        if device is None:
            traceback.print_exc()
            return {"error": INTERNAL}
        return {"error": tell(OutOfMemory(device=device))}


def _told_of_files(error: OSError, order: Order) -> dict[str, Any]:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return tell(StorageFull(what="the job's files"))
        case errno.EFBIG:
            return tell(ResultTooLarge(limit=order.limits["file_bytes"]))
        case errno.ENOMEM:
            return tell(OutOfMemory(device="cpu"))
    return INTERNAL


def main() -> None:
    """Run the order named on the command line."""
    order = Order.load(Path(sys.argv[1]))
    progress = PipeProgress(order.pipe)
    confine(Limits(**order.limits))
    die_with(order.parent)  # last: a change of credentials would undo it
    progress.send(guarded(order, progress))


if __name__ == "__main__":
    main()
