"""The child process of one attempt: started, listened to, and ended with everything it started."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.errors import (
    AttemptLost,
    ProcessExited,
    ProcessKilled,
    ProcessorTimeExceeded,
    UploadDamaged,
)
from service.jobs.artifacts import LOG
from service.jobs.blobs import Blobs
from service.jobs.leases import Claim
from sosp_core.checkpoints import CheckpointFolder
from sosp_core.errors import OutOfMemory
from worker import memory
from worker.confine import Limits
from worker.wire import Lines, Order

HINTS = {
    signal.SIGKILL: "most often the machine's memory ran out",
    signal.SIGSEGV: "a library crashed on this model or data",
    signal.SIGBUS: "a library crashed on this model or data",
    signal.SIGFPE: "a library crashed on this model or data",
    signal.SIGILL: "a library uses instructions this processor lacks",
    signal.SIGABRT: "a library gave up on this model or data, or found no memory",
}
# All a job gets to know of its worker's environment: nothing with an address or a password.
KEPT = re.compile(
    r"PATH|HOME|LANG|LC_\w+|TZ|USER|LD_LIBRARY_PATH|PYTHON(PATH|HASHSEED|UNBUFFERED|DONTWRITEBYTECODE)"
    r"|(OMP|MKL|OPENBLAS|KMP|GOMP|CUDA|CUDNN|CUBLAS|NVIDIA|NCCL|TORCH|PYTORCH|ORT)_\w+"
)


class Child:
    """A running ``worker.child``; leaving the ``with`` block ends its whole process group."""

    def __init__(
        self,
        work: Path,
        inputs: dict[str, Path],
        recipe: dict[str, Any] | None,
        limits: Limits,
        kept: CheckpointFolder,
        *,
        log_bytes: int,
        devices: str = "",
    ) -> None:
        self._log, self._log_bytes, self._limits = work / LOG, log_bytes, limits
        self._kills = memory.kills()
        self._lines = Lines()
        self._pipe, theirs = os.pipe()
        order = Order(
            parent=os.getpid(),
            pipe=theirs,
            model=str(inputs["model"]),
            data=str(inputs.get("data", "")),
            evaluation=str(inputs["evaluation"]) if "evaluation" in inputs else None,
            recipe=recipe,
            out=str(work / "out"),
            checkpoints=str(kept.folder),
            checkpoint_every_s=kept.every_s,
            devices=devices,
            limits=asdict(limits),
        )
        try:
            order.save(work / "order.json")
            self._process = self._start(work, theirs)
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(theirs)

    def _start(self, work: Path, pipe: int) -> subprocess.Popen[bytes]:
        # To append: the child goes on at the end of a log that was cut.
        with self._log.open("ab") as log:
            return subprocess.Popen(
                # -P: the working directory, where files of the job lie, is no place for modules.
                [sys.executable, "-P", "-m", "worker.child", str(work / "order.json")],
                cwd=work,
                env=_environment(work),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(pipe,),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def messages(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What the child said within ``timeout_s``; returns early when it says something."""
        self._cut_log()
        ready, _, _ = select.select([self._pipe], [], [], timeout_s)
        if ready:
            yield from self._lines.feed(os.read(self._pipe, 2**16))

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def last_messages(self) -> Iterator[dict[str, Any]]:
        """What the child still said before it ended."""
        while select.select([self._pipe], [], [], 0)[0]:
            data = os.read(self._pipe, 2**16)
            if not data:
                return
            yield from self._lines.feed(data)

    def ask_to_stop(self) -> None:
        """Let the child end at its next opportunity."""
        if not self.ended():
            self._process.terminate()

    def kill(self) -> None:
        """End the child, and whatever it started, now."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def reason(self) -> AttemptLost | OutOfMemory:
        """Why a child that said nothing ended."""
        status = self._process.wait()
        if status >= 0:
            return ProcessExited(status=status)
        number = signal.Signals(-status)
        if number is signal.SIGKILL and memory.kills() > self._kills:
            return OutOfMemory(device="cpu")
        if number is signal.SIGXCPU:
            return ProcessorTimeExceeded(limit_s=self._limits.cpu_s)
        return ProcessKilled(signal=number.name, hint=HINTS.get(number, ""))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._cut_log()
        os.close(self._pipe)

    def _cut_log(self) -> None:
        """Keep the beginning of a log that has become too long."""
        with suppress(OSError):
            if self._log.stat().st_size > self._log_bytes:
                os.truncate(self._log, self._log_bytes // 2)


def lay_out(work: Path, claim: Claim, blobs: Blobs) -> dict[str, Path]:
    """Give the inputs names that tell their format; the store names files by digest alone."""
    inputs = work / "inputs"
    inputs.mkdir()
    placed = {}
    for role, row in (("model", claim.model), ("data", claim.dataset), ("evaluation", claim.evaluation)):
        if row is not None:
            if not blobs.intact(row.sha256):
                raise UploadDamaged(kind="model" if role == "model" else "dataset", id=row.id)
            placed[role] = inputs / f"{role}.{row.format}"
            placed[role].symlink_to(blobs.path(row.sha256))
    return placed


def _environment(work: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return kept | {"TMPDIR": str(work)}
