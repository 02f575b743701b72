"""Fine-tuning by distillation from the original, with labels if there are any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from math import ceil, cos, inf, isfinite, nan, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sosp_core.checkpoints import Kept
from sosp_core.config import MIXTURES, FinetuneConfig, Optimizer, Precision
from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Task
from sosp_core.errors import Cancelled, TrainingDiverged
from sosp_core.finetune.augment import augment, keeps_labels, suited
from sosp_core.finetune.average import follow, snapshot
from sosp_core.finetune.evaluate import Quality, evaluate
from sosp_core.finetune.features import Feature, FeatureLoss
from sosp_core.finetune.gradients import Direct, Gradients, Replayed
from sosp_core.finetune.history import History, Point
from sosp_core.finetune.length import epochs_of
from sosp_core.finetune.lesson import Lesson, LessonLoss
from sosp_core.finetune.mix import Mixture, mix
from sosp_core.finetune.state import Course, Journal
from sosp_core.finetune.team import Mates, assembled
from sosp_core.progress import Progress

STAGE = "finetune"
WARM_UP = 0.1  # share of the steps until the learning rate peaks
CLIP = 5.0  # gradient norm; without it folded networks diverge within the first epoch
SMALLEST_NORM_BATCH = 8  # below this, batch statistics are noise: BatchNorm stays as it is
RECALIBRATION_BATCHES = 50  # at momentum 0.1, 99.5 % of the old statistics are then gone
LEAST_TEACHING = 0.5  # weight of the original's answers: below it, they do not stand in for labels
RESTARTS = 3  # times a diverged run may go on from its best weights at a quarter of the rate


class Trainer:
    """One fine-tuning run; the student ends with the best weights it had, or on demand the last."""

    def __init__(
        self,
        student: Network,
        teacher: Network,
        data: Dataset,
        task: Task,
        config: FinetuneConfig,
        *,
        seed: int,
        device: torch.device,
        progress: Progress,
        fixed_batch: int | None = None,
        features: Sequence[Feature] = (),
        last: bool = False,
        kept: Kept = Kept(),  # noqa: B008 (immutable)
        mates: Mates | None = None,
    ) -> None:
        self._last, self._mates, self._features = last, mates, features
        self._student, self._teacher = student.on(device), teacher.on(device).eval()
        self._task, self._config, self._device, self._progress = task, config, device, progress
        self._train, self._held = data.split(config.holdout, seed, fixed_batch or 1)
        self._micro = fixed_batch or min(config.batch_size, max(1, len(self._train)))
        self._batch = max(self._micro, config.batch_size // self._micro * self._micro)
        self._seed, self._generator = seed, torch.Generator().manual_seed(seed)
        self._journal = Journal(kept, self._student, self._generator)
        self._labels_stay = keeps_labels(task, data.labels)
        self._augmentations = self._suited(data)
        self._has_norm = any(type(m).__name__.startswith("BatchNorm") for m in student.modules())
        self._adapts = self._has_norm and self._micro >= SMALLEST_NORM_BATCH
        self._per_epoch = max(1, len(self._train) // self._batch)
        self._views = self._held_views()
        self._total = self._steps() if len(self._train) >= self._micro else 0
        self._gradients = self._way_to_gradients()

    def run(self) -> History:
        """Train.

        Raises:
            Cancelled: The user asked to stop.
            TrainingDiverged: The loss was not finite, again and again.
            DeviceLost: One of several devices is gone.
        """
        if self._total == 0:
            return self._history()
        with self._together() as self._gradients:
            return self._run()

    def _run(self) -> History:
        optimizer = self._optimizer()
        course = self._journal.resume(optimizer) or self._begin()
        history = course.history
        started = time.monotonic() - history.seconds
        patience = inf if self._config.patience is None else self._config.patience
        while history.steps < self._total and course.since < patience:
            if self._progress.cancelled():
                self._journal.save(course, optimizer)
                raise Cancelled(stage=STAGE)
            course.order = course.order or self._epoch()
            self._set_rate(optimizer, history.steps, course.rate)
            loss = self._step(optimizer, self._train.take(course.order.pop()))
            history.steps += 1
            if not (isfinite(loss) and self._stands(course)):
                optimizer = self._back(course)
                continue
            self._report(history, loss, started)
            history.seconds = time.monotonic() - started
            self._journal.save_if_due(course, optimizer)
        self._journal.save(course, optimizer)
        self._student.load_state_dict(course.weights)
        self._student.eval()
        history.best = course.best
        return history

    def _stands(self, course: Course) -> bool:
        """Follow the weights after a step; False if what they have come to cannot be judged."""
        step = course.history.steps
        follow(course.mean, self._student, self._config.ema, step)
        due = step % self._per_epoch == 0 or step == self._total
        return not due or self._compare(course, step)

    def _back(self, course: Course) -> torch.optim.Optimizer:
        """Go back to the best weights, and on from there at a quarter of the rate."""
        course.history.restarts += 1
        if course.history.restarts > RESTARTS:
            raise TrainingDiverged(step=course.history.steps)
        self._student.load_state_dict(course.weights)
        course.mean, course.rate = snapshot(self._student), course.rate / 4
        return self._optimizer()

    def _suited(self, data: Dataset) -> frozenset[str]:
        """What is applied: nothing where labels do not hold for it, yet count for more than the original."""
        by_labels = not self._labels_stay and self._config.distill < LEAST_TEACHING
        names = suited("finetune.augment", self._config.augmentations(), data.inputs)
        return frozenset() if by_labels else names

    def _history(self) -> History:
        return History(augmentations=tuple(sorted(self._augmentations)))

    def _begin(self) -> Course:
        """A new run: the weights as they are, or with statistics of this data if that is better."""
        history = self._history()
        state = snapshot(self._student)
        course = Course(history=history, best=self._judge(history, 0), weights=state, mean=state)
        if self._adapts:
            self._recalibrate()
            course.mean = snapshot(self._student)
            self._compare(course, 0)
            course.since = 0
            self._student.load_state_dict(course.weights)
        course.mean = snapshot(self._student)
        return course

    def _compare(self, course: Course, step: int) -> bool:
        """Judge the mean of the weights, and remember it if it is the best so far.

        Returns:
            Whether the judgement is a number; else nothing is remembered.
        """
        present = snapshot(self._student)
        self._student.load_state_dict(course.mean)
        point = self._judge(course.history, step)
        course.since += 1
        sound = isfinite(point.objective)
        if not sound:
            course.history.points.pop()
        elif self._last or self._improves(point, course.best):
            course.best, course.weights, course.since = point, snapshot(self._student), 0
        self._student.load_state_dict(present)
        return sound

    def _improves(self, point: Point, best: Point) -> bool:
        """Whether weights are better than the best so far.

        Mixtures are far from what a network will be asked, and a short training may end a little
        further from the original there than where it began: it is thrown away only if the held-out
        samples as they are prefer what was there before it, too.
        """
        if point.objective < best.objective:
            return True
        share, untrained = self._config.distill, best.step == 0 < point.step
        return untrained and point.quality.objective(share) < best.quality.objective(share)

    @torch.no_grad()
    def _recalibrate(self) -> None:
        """Estimate the statistics of BatchNormalization anew: what feeds it has changed."""
        self._student.train()
        for part in islice(self._train.batches(self._micro, drop_last=True), RECALIBRATION_BATCHES):
            self._student(*self._tensors(part))

    def _objective(self, quality: Quality) -> float:
        """What weights are chosen by: smaller is better.

        A network answers samples it has learnt by heart from memory, and so does, for a while, what
        is left of it; they tell little. Where there are views and mixtures, those of held-out
        samples decide: nobody has seen them.
        """
        if not self._augmentations:
            return quality.objective(self._config.distill)
        return self._quality(self._views, replace(self._task, labelled=False)).divergence

    def _held_views(self) -> Dataset:
        """The held-out samples in one view and mixture each, always the same; without labels."""
        name, *_ = self._student.input_names
        generator = torch.Generator().manual_seed(self._seed)
        parts = list(self._held.batches(self._micro)) if self._augmentations else []
        views = [self._view(torch.as_tensor(part.inputs[name]), generator)[0] for part in parts]
        inputs = {name: torch.cat(views).numpy()} if views else {}
        return replace(self._held, inputs={**self._held.inputs, **inputs}, labels=None)

    def _judge(self, history: History, step: int) -> Point:
        self._student.eval()
        quality = self._quality(self._held, self._task)
        point = Point(step=step, quality=quality, objective=self._objective(quality))
        history.points.append(point)
        return point

    def _quality(self, data: Dataset, task: Task) -> Quality:
        return evaluate(
            lambda d: self._student(*self._tensors(d)),
            lambda d: self._teacher(*self._tensors(d)),
            data,
            task,
            self._micro,
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = [p for p in self._student.parameters() if p.requires_grad]
        # Weights decay; biases and normalisation scales do not.
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self._config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        lr = self._peak_rate()
        if self._config.optimizer is Optimizer.ADAMW:
            return torch.optim.AdamW(groups, lr=lr)
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)

    def _steps(self) -> int:
        config = self._config
        if config.steps is not None:
            return config.steps
        return ceil(epochs_of(config, self._per_epoch * self._batch) * self._per_epoch)

    def _peak_rate(self) -> float:
        if self._config.lr is not None:
            return self._config.lr
        if self._config.optimizer is Optimizer.ADAMW:
            return 1e-3
        return 0.03 if self._has_norm else 0.003

    def _set_rate(self, optimizer: torch.optim.Optimizer, step: int, scale: float) -> None:
        """Linear warm-up, then half a cosine down to zero."""
        done, warm = (step + 1) / self._total, WARM_UP
        shape = done / warm if done < warm else 0.5 * (1 + cos(pi * (done - warm) / (1 - warm)))
        for group in optimizer.param_groups:
            group["lr"] = self._peak_rate() * scale * max(shape, 1e-3)

    def _epoch(self) -> list[NDArray[np.int64]]:
        order = torch.randperm(len(self._train), generator=self._generator).numpy()
        size = min(self._batch, len(order))
        return [order[i : i + size] for i in range(0, len(order) - size + 1, size)]

    def _step(self, optimizer: torch.optim.Optimizer, batch: Dataset) -> float:
        self._student.train(self._micro >= SMALLEST_NORM_BATCH)
        parts = batch.batches(self._micro, drop_last=True)
        loss = self._gradients([self._lesson(part) for part in parts])
        norm = float(nn.utils.clip_grad_norm_(self._student.parameters(), CLIP))
        if not (isfinite(loss) and isfinite(norm)):
            return nan
        optimizer.step()
        return loss

    def _together(self) -> AbstractContextManager[Gradients]:
        """With as many mates as there is work for: statistics of a few samples each would be noise."""
        mates, least = self._mates, SMALLEST_NORM_BATCH if self._adapts else 1
        size = min(len(mates.devices) if mates else 1, self._micro // least)
        if mates is None or size < 2 or self._batch != self._micro or not mates.able:
            return nullcontext(self._gradients)
        return assembled(
            replace(mates, devices=mates.devices[:size]),
            *(self._gradients, self._student),
            task=self._task,
            config=self._config,
            features=self._features,
            trains=self._micro >= SMALLEST_NORM_BATCH,
            mixed=self._mixed(),
        )

    def _way_to_gradients(self) -> Gradients:
        matched = self._features if self._config.features > 0 else ()
        weighed = FeatureLoss(matched, self._device) if matched else None
        loss = LessonLoss(
            *(self._student, self._teacher, self._task, self._config, weighed), mixed=self._mixed()
        )
        recorded = self._device.type == "cuda" and self._batch == self._micro
        return (Replayed if recorded else Direct)(self._student, loss)

    def _lesson(self, part: Dataset) -> Lesson:
        inputs, mixture = self._tensors(part), None
        if self._augmentations:
            view, mixture = self._view(inputs[0], self._generator)
            inputs = (view, *inputs[1:])
        if part.labels is None or (self._augmentations and not self._labels_stay):
            return Lesson(inputs=inputs)
        labels = torch.as_tensor(part.labels, device=self._device)
        if mixture is None:
            return Lesson(inputs=inputs, labels=labels)
        return Lesson(inputs=inputs, labels=labels, others=labels[mixture.partner], share=mixture.share)

    def _view(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Mixture | None]:
        x = augment(x, self._augmentations, generator)
        return mix(x, self._augmentations, generator) if self._augmentations & MIXTURES else (x, None)

    def _mixed(self) -> bool:
        asked = self._config.precision
        return asked is Precision.BF16 or (asked is Precision.AUTO and self._device.type == "cuda")

    def _tensors(self, data: Dataset) -> tuple[Tensor, ...]:
        tensors = (torch.as_tensor(data.inputs[n]).to(self._device) for n in self._student.input_names)
        return tuple(t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors)

    def _report(self, history: History, loss: float, started: float) -> None:
        done = history.steps / self._total
        eta = (time.monotonic() - started) * (1 - done) / done
        metrics = {"loss": loss, "step": float(history.steps), "steps": float(self._total)}
        latest = history.points[-1].quality
        if latest.accuracy is not None:
            metrics["accuracy"] = latest.accuracy
        self._progress.report(
            STAGE, done, f"step {history.steps} of {self._total}", eta_s=eta, metrics=metrics
        )
