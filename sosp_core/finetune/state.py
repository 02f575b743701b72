"""A training run between two steps: all it takes to go on as if nothing had happened."""

from __future__ import annotations

import io
import logging
import pickle
import time
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sosp_core.checkpoints import LARGEST_SHARE, Kept, Sink
from sosp_core.finetune.average import State
from sosp_core.finetune.evaluate import Quality
from sosp_core.finetune.history import History, Point

NAME = "finetune"

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Course:
    """What changes from step to step, beside the weights and the optimiser.

    Attributes:
        best: The evaluation whose weights are to be kept.
        weights: Those weights, and buffers.
        mean: The running mean of the weights; it is what evaluations judge.
        rate: What the learning rate is multiplied with; less than 1 after a restart.
        since: Evaluations since the best.
        order: Samples of the batches that are left of the epoch, the next one last.
    """

    history: History
    best: Point
    weights: State
    mean: State
    rate: float = 1.0
    since: int = 0
    order: list[NDArray[np.int64]] = field(default_factory=list)


class Journal:
    """Saves a run every so often, and finds what was saved.

    Cost of a save: the network twice and the optimiser's state, written and forced to the disk. It
    happens every ``kept.every_s``, or less often where it takes long.
    """

    def __init__(self, kept: Kept, student: nn.Module, generator: torch.Generator) -> None:
        self._kept, self._student, self._generator = kept, student, generator
        self._due = time.monotonic() + kept.every_s

    def save_if_due(self, course: Course, optimizer: torch.optim.Optimizer) -> None:
        """Save if the time has come."""
        began = time.monotonic()
        if began >= self._due:
            self.save(course, optimizer)
            took = time.monotonic() - began
            share = took / LARGEST_SHARE if self._kept.every_s else 0.0
            self._due = time.monotonic() + max(self._kept.every_s, share)

    def save(self, course: Course, optimizer: torch.optim.Optimizer) -> None:
        """Save now, unless nothing is kept at all."""
        if self._kept.every_s == float("inf"):
            return
        state = {
            "student": self._student.state_dict(),
            "optimizer": optimizer.state_dict(),
            "weights": course.weights,
            "mean": course.mean,
            "history": asdict(course.history),
            "best": asdict(course.best),
            "rate": course.rate,
            "since": course.since,
            "order": [torch.from_numpy(part) for part in course.order],
            "generators": self._generators(),
        }

        def write(sink: Sink) -> None:
            torch.save(state, cast(Any, sink))  # it asks for no more than ``write`` and ``flush``

        self._kept.save(NAME, write, seconds=course.history.seconds)

    def resume(self, optimizer: torch.optim.Optimizer) -> Course | None:
        """Put network, optimiser and generators back to where they were saved; None if nothing fits."""
        found = self._kept.load(NAME)
        if found is None:
            return None
        try:
            state = torch.load(io.BytesIO(found[0]), map_location="cpu", weights_only=True)
            if not all(_fits(self._student, state[part]) for part in ("student", "weights", "mean")):
                raise ValueError("its weights are of other shapes")
            course = _course(state)
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            log.warning("the checkpoint of the training does not fit and is ignored: %s", error)
            return None
        self._student.load_state_dict(state["student"])
        _lay_out(optimizer)
        self._set_generators(state["generators"])
        device = next(self._student.parameters()).device
        course.weights = _at(device, course.weights)
        course.mean = _at(device, course.mean)
        return course

    def _generators(self) -> dict[str, Any]:
        """Where random numbers stand: ours, and the global ones that dropout draws from."""
        cuda = torch.cuda.get_rng_state_all() if _on_cuda(self._student) else []
        return {"ours": self._generator.get_state(), "cpu": torch.get_rng_state(), "cuda": cuda}

    def _set_generators(self, states: dict[str, Any]) -> None:
        self._generator.set_state(states["ours"])
        torch.set_rng_state(states["cpu"])
        if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])


def _on_cuda(network: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in network.parameters())


def _course(state: dict[str, Any]) -> Course:
    history = History(**state["history"])
    history.points = [_point(point) for point in state["history"]["points"]]
    history.best = None if history.best is None else _point(state["history"]["best"])
    history.augmentations = tuple(history.augmentations)
    return Course(
        history=history,
        best=_point(state["best"]),
        weights=state["weights"],
        mean=state["mean"],
        rate=state["rate"],
        since=state["since"],
        order=[part.numpy() for part in state["order"]],
    )


def _point(told: dict[str, Any]) -> Point:
    return Point(step=told["step"], quality=Quality(**told["quality"]), objective=told["objective"])


def _at(device: torch.device, state: State) -> State:
    return {name: tensor.to(device) for name, tensor in state.items()}


def _fits(network: nn.Module, saved: State) -> bool:
    own = network.state_dict()
    return own.keys() == saved.keys() and all(own[n].shape == saved[n].shape for n in own)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their weights, so that the same kernels run as before."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
