"""One batch as a step sees it, and the loss that it teaches by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sosp_core.config import FinetuneConfig
from sosp_core.convert.network import Network
from sosp_core.data.task import Task
from sosp_core.finetune.features import FeatureLoss


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Views of a batch on the device: nothing random is left to be drawn, nothing to be fetched.

    Attributes:
        inputs: In graph order.
        labels: Of each sample, if there are any; without them, the original's answers are all there is.
        others: If samples are mixtures, the labels of what each was mixed with.
        share: Of a mixture, a single number: how much of it is the sample itself.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None
    others: Tensor | None = None
    share: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def tensors(self) -> list[Tensor]:
        """All that it holds, in one order."""
        return [*self.inputs, *(t for t in (self.labels, self.others, self.share) if t is not None)]

    def holding(self, tensors: Iterable[Tensor]) -> Lesson:
        """A lesson of the same kind that holds these, in the order of ``tensors()``."""
        rest = iter(tensors)
        inputs = tuple(next(rest) for _ in self.inputs)
        labels, others, share = (
            None if t is None else next(rest) for t in (self.labels, self.others, self.share)
        )
        return Lesson(inputs=inputs, labels=labels, others=others, share=share)

    def part(self, number: int, parts: int) -> Lesson:
        """The samples of one of several parts, as equal as can be."""
        return self.holding(t.tensor_split(parts)[number] if t.ndim else t for t in self.tensors())


class LessonLoss:
    """How far the student is from the original's outputs and inner tensors, and from labels if there are any.

    Cost: a forward pass of both. The host waits for nothing, so that all of it can be recorded.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        task: Task,
        config: FinetuneConfig,
        features: FeatureLoss | None,
        *,
        mixed: bool,
    ) -> None:
        """Name what is compared.

        Args:
            student: In training mode or not, as it is found.
            teacher: The original.
            task: What the outputs mean.
            config: Weights of the parts.
            features: Inner tensors to compare, too.
            mixed: Compute in bfloat16 where that is safe.
        """
        self._student, self._teacher, self._task, self._config = student, teacher, task, config
        self._features, self._mixed = features, mixed
        self._names = [*student.output_names, *(features.names if features else ())]
        self._share = config.distill if task.labelled else 1.0

    def __call__(self, lesson: Lesson) -> Tensor:
        """The mean over the lesson's samples."""
        n = len(self._student.output_names)
        kind = lesson.inputs[0].device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self._mixed):
            with torch.no_grad():
                original = self._teacher.tensors(lesson.inputs, self._names)
            got = self._student.tensors(lesson.inputs, self._names)
        outputs = [y.float() if y.dtype is torch.bfloat16 else y for y in got[:n]]
        loss = self._judged(outputs, original[:n], lesson)
        if self._features:
            loss = loss + self._config.features * self._features(got[n:], original[n:])
        return loss

    def _judged(self, outputs: Sequence[Tensor], reference: Sequence[Tensor], lesson: Lesson) -> Tensor:
        share = 1.0 if lesson.labels is None else self._share
        loss = outputs[0].new_zeros(())
        if share > 0:
            loss = loss + share * self._task.distilled(outputs, reference, self._config.temperature)
        if share < 1 and lesson.labels is not None:
            against = partial(self._task.supervised, outputs)
            hard = against(lesson.labels)
            if lesson.others is not None and lesson.share is not None:
                hard = lesson.share * hard + (1 - lesson.share) * against(lesson.others)
            loss = loss + (1 - share) * hard
        return loss
