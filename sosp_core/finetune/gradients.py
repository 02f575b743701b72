"""From lessons to gradients: one after the other, or recorded once and replayed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sosp_core.finetune.average import snapshot
from sosp_core.finetune.lesson import Lesson

log = logging.getLogger(__name__)

#: Runs before a recording, so that libraries have chosen their kernels and taken their memory.
WARM_UP_RUNS = 3
#: A recording keeps its activations for itself: none is made of a network that takes more than this share.
LARGEST_SHARE_OF_MEMORY = 0.4


class Gradients(Protocol):
    """Leaves in the parameters the gradients of the mean loss over lessons of one size."""

    def __call__(self, lessons: Sequence[Lesson]) -> float:
        """The mean loss."""


class Direct:
    """Each operation as it comes."""

    def __init__(self, network: nn.Module, loss: Callable[[Lesson], Tensor]) -> None:
        self._parameters, self._loss = list(network.parameters()), loss

    def __call__(self, lessons: Sequence[Lesson]) -> float:
        """The mean loss; gradients of what was before are dropped."""
        self._forget()
        return sum(float(self._learn(lesson, len(lessons))) for lesson in lessons)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _learn(self, lesson: Lesson, parts: int) -> Tensor:
        loss = self._loss(lesson) / parts
        torch.autograd.backward(loss)
        return loss.detach()


class Replayed(Direct):
    """Forward and backward pass as one CUDA graph.

    A small network consists of kernels that take less time than their launch: ResNet-56 at 32
    images has some 3,000 a step. What cannot be recorded, because the host has to look at a
    result, is run as it comes.
    """

    def __init__(self, network: nn.Module, loss: Callable[[Lesson], Tensor]) -> None:
        super().__init__(network, loss)
        self._network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recordable = True
        self._held: list[Tensor] = []
        self._result = torch.zeros(())

    def __call__(self, lessons: Sequence[Lesson]) -> float:
        """The mean loss; several lessons add up their gradients, which a replay cannot."""
        # What is recorded is what goes to the present device, and that need not be where the network is.
        with torch.cuda.device(lessons[0].inputs[0].device):
            if len(lessons) == 1 and self._recordable and self._graph is None:
                self._record(lessons[0])
            if self._graph is None or len(lessons) != 1:
                return super().__call__(lessons)
            for held, new in zip(self._held, lessons[0].tensors(), strict=True):
                held.copy_(new)
            self._graph.replay()
            return float(self._result)

    def _record(self, lesson: Lesson) -> None:
        state = snapshot(self._network)
        self._held = [tensor.clone() for tensor in lesson.tensors()]
        try:
            self._graph, self._result = self._recorded(lesson.holding(self._held))
        except RuntimeError as error:
            self._recordable = False
            log.info("training goes on without a CUDA graph: %s", str(error).strip().partition("\n")[0])
        # The runs before moved the statistics of normalisations, but the weights only in the end.
        self._network.load_state_dict(state)

    def _recorded(self, lesson: Lesson) -> tuple[torch.cuda.CUDAGraph | None, Tensor]:
        side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._forget()
                self._learn(lesson, 1)
        torch.cuda.current_stream().wait_stream(side)
        if torch.cuda.max_memory_allocated() > LARGEST_SHARE_OF_MEMORY * torch.cuda.mem_get_info()[1]:
            self._recordable = False
            return None, self._result
        self._forget()  # so that gradients are made where every replay writes them
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._learn(lesson, 1)
        return graph, result
