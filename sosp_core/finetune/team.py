"""The leader's side of a training on several devices; see ``exchange`` for who does what."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import onnx_ir as ir
import torch
import torch.distributed as dist

from sosp_core.config import FinetuneConfig
from sosp_core.convert.network import Network
from sosp_core.data.task import Task
from sosp_core.errors import DeviceLost
from sosp_core.finetune.exchange import STEP, STOP, add_up, announce, describe, hand_out, meet, ready
from sosp_core.finetune.features import Feature
from sosp_core.finetune.gradients import Gradients
from sosp_core.finetune.lesson import Lesson
from sosp_core.finetune.mate import ORDER, STUDENT, TEACHER
from sosp_core.ir.save import ONE_FILE_BELOW, weight_bytes
from sosp_core.runtime.session import serialize

log = logging.getLogger(__name__)

#: For a mate to leave when told to; between looks at the mates; and for a lost one to be seen.
FAREWELL_S, LOOK_S, LAST_LOOK_S = 10.0, 0.05, 2.0


@dataclass(frozen=True, kw_only=True)
class Mates:
    """Who may train along, and what they have to know.

    Attributes:
        devices: Of the leader first, then of the mates.
        student: The model that is trained; of its weights only names and shapes matter.
        teacher: The original.
    """

    devices: tuple[torch.device, ...]
    student: ir.Model
    teacher: ir.Model

    @property
    def able(self) -> bool:
        """Whether the models can be handed over in one file each, and no other group is at work."""
        small = all(weight_bytes(m) < ONE_FILE_BELOW for m in (self.student, self.teacher))
        able = small and not dist.is_initialized()
        if not able:
            log.warning("training goes on on %s alone", self.devices[0])
        return able


class Shared:
    """Gradients from all devices; see ``Gradients``."""

    def __init__(
        self, local: Gradients, network: Network, team: Sequence[_Mate], device: torch.device, place: Path
    ) -> None:
        self._local, self._network, self._team = local, network, team
        self._device, self._place, self._described = device, place, False

    def __call__(self, lessons: Sequence[Lesson]) -> float:
        """The mean loss over the one lesson, of which each device has a part.

        Raises:
            DeviceLost: A mate is gone.
        """
        (lesson,) = lessons
        if not self._described:
            describe(lesson, self._place)
            self._described = True
        size = len(self._team) + 1
        own = lesson.part(0, size)
        with _losses_named(self._team):
            announce(STEP, self._device)
            hand_out(self._network, lesson, lead=True)
            return add_up(self._network, self._local([own]), len(own) / len(lesson))


@contextmanager
def assembled(
    mates: Mates,
    local: Gradients,
    network: Network,
    *,
    task: Task,
    config: FinetuneConfig,
    features: Sequence[Feature],
    trains: bool,
    mixed: bool,
) -> Iterator[Shared]:
    """Start the mates, and see them off in the end, whatever the end is.

    Args:
        mates: Who they are.
        local: The leader's own way to gradients.
        network: The student, at the leader.
        task: What outputs mean.
        config: Weights of the parts of the loss.
        features: Inner tensors to match.
        trains: Whether statistics of normalisation are the batch's.
        mixed: Compute in bfloat16 where that is safe.

    Raises:
        DeviceLost: One of them did not get as far as the meeting.
    """
    device, size = mates.devices[0], len(mates.devices)
    parts = {name: getattr(config, name) for name in ("distill", "features", "temperature")}
    order = {
        "devices": [str(d) for d in mates.devices],
        "threads": max(1, torch.get_num_threads() // size),
        "kinds": [str(kind) for kind in task.kinds],
        "labelled": task.labelled,
        "variances": task.variances,
        "axes": [asdict(axes) for axes in task.axes],
        "features": [[f.name, list(f.kept.items())] for f in features] if config.features > 0 else [],
        "config": parts,
        "trains": trains,
        "mixed": mixed,
    }
    with ExitStack() as ending:
        place = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sosp-team-")))
        (place / STUDENT).write_bytes(serialize(mates.student))
        (place / TEACHER).write_bytes(serialize(mates.teacher))
        (place / ORDER).write_text(json.dumps(order))
        team: list[_Mate] = []
        ending.push(partial(_part, team, device))
        for rank in range(1, size):
            team.append(_Mate(place, rank, mates.devices[rank]))
        _wait_for(team)
        with _losses_named(team):
            meet(place, 0, size, device)
        yield Shared(local, network, team, device, place)


class _Mate:
    """A process that trains along."""

    def __init__(self, place: Path, rank: int, device: torch.device) -> None:
        self.device, self.ready, self._said = device, ready(place, rank), place / f"mate-{rank}.log"
        # -P: the working directory, where files of a job may lie, is no place for modules.
        command = [sys.executable, "-P", "-m", "sosp_core.finetune.mate", str(place), str(rank)]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)

    def status(self) -> int | None:
        """How it ended, if it did."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line it wrote."""
        lines = self._said.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def leave(self, patience_s: float) -> None:
        """Wait for its end for a while, then end it."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _wait_for(team: Sequence[_Mate]) -> None:
    """Until all are on their way to the meeting, where nobody would notice who is missing."""
    while not all(mate.ready.exists() for mate in team):
        _require_all(team)
        time.sleep(LOOK_S)


def _require_all(team: Sequence[_Mate], error: Exception | None = None) -> None:
    for mate in team:
        if mate.status() is not None:
            raise DeviceLost(device=str(mate.device), reason=mate.last_words()) from error


@contextmanager
def _losses_named(team: Sequence[_Mate]) -> Iterator[None]:
    """Say which mate was lost where the group only says that somebody was."""
    try:
        yield
    except RuntimeError as error:
        ends = time.monotonic() + LAST_LOOK_S  # the connection is lost before the process has ended
        while time.monotonic() < ends:
            _require_all(team, error)
            time.sleep(LOOK_S)
        raise


def _part(
    team: Sequence[_Mate], device: torch.device, failed: type[BaseException] | None, *_: object
) -> None:
    """Tell the mates to go; after a failure they may be anywhere, and are ended."""
    if dist.is_initialized():
        if failed is None:
            announce(STOP, device)
        dist.destroy_process_group()
    for mate in team:
        mate.leave(FAREWELL_S if failed is None else 0)
