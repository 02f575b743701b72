from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from sosp_core.config import FinetuneConfig, Optimizer
from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.errors import Cancelled, TrainingDiverged
from sosp_core.finetune.evaluate import Quality, evaluate
from sosp_core.finetune.gradients import Gradients
from sosp_core.finetune.history import History, Point
from sosp_core.finetune.lesson import Lesson
from sosp_core.finetune.loop import RESTARTS, Trainer
from sosp_core.finetune.write_back import write_back
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.progress import NullProgress
from sosp_core.surgery.verify import outputs_of
from tests.core.digits import INPUT, digits, digits_model
from tests.zoo.graphs import CASES, as_model
from tests.zoo.graphs import build as build_graph

CLASSES = Task(kinds=(Kind.LOGITS,), labelled=True)
DISTILL = Task(kinds=(Kind.VALUES,), labelled=False)
QUICK = FinetuneConfig(steps=20, batch_size=32, augment="none", holdout=0.25, lr=0.05)


def network(noise: float = 0.0) -> Network:
    """The trained network, with ``noise`` times their own size added to its weights."""
    made = Network(normalize(load_model(digits_model())))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim > 1:
                p.add_(torch.randn(p.shape, generator=generator) * p.std() * noise)
    return made


def samples(n: int = 256, labels: bool = True) -> Dataset:
    x, y = digits()
    return Dataset(inputs={INPUT: x[:n]}, labels=y[:n] if labels else None)


def trainer(
    student: Network,
    config: FinetuneConfig = QUICK,
    task: Task = CLASSES,
    kind: type[Trainer] = Trainer,
    **options: object,
) -> Trainer:
    given: dict[str, object] = {
        "seed": 0,
        "device": torch.device("cpu"),
        "progress": NullProgress(),
    } | options
    return kind(student, network(), samples(labels=task.labelled), task, config, **given)  # type: ignore[arg-type]


def weights(of: Network) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in of.state_dict().items()}


@pytest.mark.parametrize("task", [CLASSES, DISTILL], ids=["labels", "distillation"])
@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_damaged_network_recovers(task: Task, optimizer: Optimizer) -> None:
    student = network(noise=0.5)
    config = replace(QUICK, steps=40, optimizer=optimizer, lr=None)
    history = trainer(student, config, task).run()
    first = history.points[0].quality
    assert history.best is not None
    assert history.best.quality.divergence < 0.7 * first.divergence
    share = config.distill
    assert history.best.quality.objective(share) == min(p.quality.objective(share) for p in history.points)
    assert history.steps == 40


def test_the_student_ends_with_its_best_weights() -> None:
    student = network(noise=0.3)
    run = trainer(student)
    history = run.run()
    held = samples().split(QUICK.holdout, 0)[1]
    teacher = network()

    def forward(net: Network, batch: Dataset) -> tuple[Tensor, ...]:
        return net(torch.as_tensor(batch.inputs[INPUT]))

    judged = evaluate(lambda b: forward(student, b), lambda b: forward(teacher, b), held, CLASSES, 64)
    assert history.best is not None
    assert judged.accuracy == pytest.approx(history.best.quality.accuracy)
    assert judged.divergence == pytest.approx(history.best.quality.divergence, rel=1e-4)
    assert not student.training


class GetsWorse(Trainer):
    """Every step spoils the weights."""

    def _step(self, optimizer: torch.optim.Optimizer, batch: Dataset) -> float:
        with torch.no_grad():
            for p in self._student.parameters():
                p.mul_(-1.0)
        return 1.0


def test_worse_weights_are_discarded_and_patience_ends() -> None:
    student = network()
    before = weights(student)
    config = replace(QUICK, steps=500, patience=2)
    history = trainer(student, config, kind=GetsWorse).run()
    assert history.steps == 2 * (192 // 32)  # two epochs without improvement
    after = weights(student)
    statistics = {name for name, _ in student.named_buffers()}
    for name in before.keys() - statistics:
        assert torch.equal(before[name], after[name])


def test_without_patience_a_run_goes_on_to_its_end() -> None:
    history = trainer(network(), replace(QUICK, steps=90), kind=GetsWorse).run()
    assert history.steps == 90
    assert history.best is history.points[0]


class Explodes(Trainer):
    """The inputs of the first ``times`` steps are not finite, and so is nothing after them."""

    times = 0

    def _lesson(self, part: Dataset) -> Lesson:
        lesson = super()._lesson(part)
        type(self).times -= 1
        factor = nan if type(self).times >= 0 else 1.0
        return replace(lesson, inputs=tuple(x * factor for x in lesson.inputs))


def test_a_run_that_explodes_goes_on_at_a_smaller_rate() -> None:
    Explodes.times = 2
    student = network(noise=0.3)
    history = trainer(student, kind=Explodes).run()
    assert history.restarts == 2
    assert history.steps == QUICK.steps
    assert all(torch.isfinite(t).all() for t in weights(student).values())


def test_a_run_that_keeps_exploding_gives_up() -> None:
    Explodes.times = 10**6
    with pytest.raises(TrainingDiverged) as caught:
        trainer(network(), kind=Explodes).run()
    assert caught.value.step == RESTARTS + 1


class Spoils(Explodes):
    """The same, but all that shows it is the gradients."""

    def _lesson(self, part: Dataset) -> Lesson:
        return Trainer._lesson(self, part)

    def _way_to_gradients(self) -> Gradients:
        found = super()._way_to_gradients()

        def gradients(lessons: Sequence[Lesson]) -> float:
            loss = found(lessons)
            type(self).times -= 1
            if type(self).times >= 0:
                next(p for p in self._student.parameters() if p.grad is not None).grad.fill_(inf)
            return loss

        return gradients


@pytest.mark.parametrize("last", [False, True])
def test_gradients_that_are_not_finite_are_no_step(last: bool) -> None:
    Spoils.times = 2
    student = network(noise=0.3)
    history = trainer(student, kind=Spoils, last=last).run()
    assert history.restarts == 2
    assert all(torch.isfinite(t).all() for t in weights(student).values())


class Breaks(Trainer):
    """Steps of finite losses to weights that are no numbers."""

    def _step(self, optimizer: torch.optim.Optimizer, batch: Dataset) -> float:
        with torch.no_grad():
            next(self._student.parameters()).fill_(nan)
        return 1.0


@pytest.mark.parametrize("last", [False, True])
def test_weights_that_cannot_be_judged_are_never_kept(last: bool) -> None:
    student = network()
    history = trainer(student, replace(QUICK, steps=6), kind=Breaks, last=last).run()
    assert history.restarts == 1
    assert all(np.isfinite(p.objective) for p in history.points)
    assert all(torch.isfinite(t).all() for t in weights(student).values())
    with pytest.raises(TrainingDiverged):
        trainer(network(), replace(QUICK, steps=60), kind=Breaks, last=last).run()


MASKED = """(float[N,6,8] x) => (float[N,6,4] y)
<float[8,8] q, float[8,8] k, float[8,4] v, float[6,6] mask, bool[6,6] seen>
{ a = MatMul(x, q)  b = MatMul(x, k)  c = Transpose<perm=[0,2,1]>(b)  d = MatMul(a, c)
  e = HIDDEN  p = Softmax(e)  w = MatMul(x, v)  y = MatMul(p, w) }"""


@pytest.mark.parametrize("optimizer", Optimizer)
@pytest.mark.parametrize("hidden", ["Add(d, mask)", "Where(seen, d, mask)"])
def test_minus_infinity_in_a_mask_spoils_no_training(hidden: str, optimizer: Optimizer) -> None:
    made = as_model(MASKED.replace("HIDDEN", hidden), 17)
    seen = np.tril(np.ones((6, 6), dtype=bool))
    for held in made.graph.initializer:
        if held.name == "seen":
            held.CopyFrom(numpy_helper.from_array(seen, "seen"))
        if held.name == "mask":
            held.CopyFrom(numpy_helper.from_array(np.where(seen, 0, -inf).astype(np.float32), "mask"))
    model = normalize(load_model(made.SerializeToString()))
    student, teacher = Network(model), Network(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    x = np.random.default_rng(0).standard_normal((64, 6, 8)).astype(np.float32)
    history = Trainer(
        *(student, teacher, Dataset(inputs={"x": x}), DISTILL),
        replace(QUICK, batch_size=8, optimizer=optimizer, lr=0.003),
        **{"seed": 0, "device": torch.device("cpu"), "progress": NullProgress()},  # type: ignore[arg-type]
    ).run()
    assert history.restarts == 0
    assert history.best is not None
    assert history.best.quality.divergence < history.points[0].quality.divergence
    mask = write_back(student, model.clone()).graph.initializers["mask"].const_value
    assert mask is not None
    np.testing.assert_array_equal(mask.numpy(), np.where(seen, 0, -inf))


def test_an_absurd_rate_never_leaves_broken_weights() -> None:
    student = network()
    try:
        trainer(student, replace(QUICK, lr=10.0, steps=30)).run()
    except TrainingDiverged:
        return
    assert all(torch.isfinite(t).all() for t in weights(student).values())


def test_statistics_of_normalisation_follow_the_data() -> None:
    student = network()
    with torch.no_grad():  # statistics of other data than these
        for name, buffer in student.named_buffers():
            if buffer.ndim == 1 and buffer.is_floating_point() and buffer.numel() > 4:
                buffer.mul_(3.0).add_(0.5)
            assert name
    model = normalize(load_model(digits_model()))
    history = trainer(student, replace(QUICK, steps=60)).run()
    assert history.best is not None
    original = {n: v.const_value.numpy() for n, v in model.graph.initializers.items() if v.const_value}
    written = write_back(student.cpu(), model.clone()).graph.initializers
    changed = {n for n, v in original.items() if not np.array_equal(v, written[n].const_value.numpy())}
    running = {n for n in original if "running" in n}
    assert len(running) == 4
    assert running <= changed


def test_no_steps_leave_everything_as_it_was() -> None:
    student = network(noise=0.1)
    before = weights(student)
    history = trainer(student, replace(QUICK, steps=0)).run()
    assert (history.steps, history.best, history.points) == (0, None, [])
    assert all(torch.equal(before[n], t) for n, t in weights(student).items())


def test_the_same_seed_trains_the_same_network() -> None:
    config = replace(QUICK, steps=6, augment="shift")
    runs = []
    for seed in (3, 3, 4):
        student = network(noise=0.3)
        trainer(student, config, seed=seed).run()
        runs.append(weights(student))
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])
    assert not all(torch.equal(runs[0][n], runs[2][n]) for n in runs[0])


class StopsAfter(NullProgress):
    """Asks to stop after so many reports."""

    def __init__(self, reports: int) -> None:
        self.left, self.metrics = reports, []  # type: ignore[var-annotated]

    def report(
        self,
        stage: str,
        done: float,
        message: str = "",
        *,
        eta_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        self.left -= 1
        self.metrics.append(dict(metrics or {}))
        assert stage == "finetune"
        assert 0 < done <= 1
        assert eta_s is not None
        assert 0 <= eta_s < inf

    def cancelled(self) -> bool:
        return self.left <= 0


def test_a_cancelled_run_stops_at_the_next_step() -> None:
    progress = StopsAfter(3)
    with pytest.raises(Cancelled) as caught:
        trainer(network(), progress=progress).run()
    assert caught.value.stage == "finetune"
    assert [m["step"] for m in progress.metrics] == [1.0, 2.0, 3.0]
    assert all(np.isfinite(m["loss"]) for m in progress.metrics)


def test_weights_that_are_tied_stay_tied() -> None:
    built = build_graph(CASES["shared_weight_of_two_convs"])
    student, teacher = Network(built.model), Network(built.model)
    x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.2)
    assert len(list(student.parameters())) == 3
    before = weights(student)
    Trainer(
        *(student, teacher, Dataset(inputs={"x": x}), DISTILL, replace(QUICK, batch_size=16)),
        **{"seed": 0, "device": torch.device("cpu"), "progress": NullProgress()},  # type: ignore[arg-type]
    ).run()
    assert not torch.equal(before[student.attribute_of["w"]], weights(student)[student.attribute_of["w"]])
    written = write_back(student, built.model.clone())
    assert len(written.graph.initializers) == 3
    with torch.no_grad():
        (expected,) = student(torch.as_tensor(x[:4]))
    got = outputs_of(written, {"x": x[:4]})["y"]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["conv_chain", "dense_concat", "prelu_slope", "attention", "unet"])
def test_writing_back_what_was_read_changes_nothing(name: str) -> None:
    model = build_graph(CASES[name]).model
    written = write_back(Network(model), model.clone())
    for key, value in model.graph.initializers.items():
        other = written.graph.initializers[key]
        assert value.const_value is not None
        assert other.const_value is not None
        assert other.dtype == value.dtype
        np.testing.assert_array_equal(other.const_value.numpy(), value.const_value.numpy())


def test_writing_back_carries_every_change() -> None:
    model = build_graph(CASES["conv_chain"]).model
    net = Network(model)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)
    written = write_back(net, model.clone())
    for key in ("w1", "g1", "b1", "w2", "b2", "w3"):
        old, new = (m.graph.initializers[key].const_value for m in (model, written))
        assert old is not None
        assert new is not None
        np.testing.assert_array_equal(new.numpy(), 2 * old.numpy())


@pytest.mark.parametrize("plain", [0.5, 2.0], ids=["better on plain samples", "worse on them, too"])
def test_training_is_thrown_away_only_if_plain_samples_say_so_too(plain: float) -> None:
    """On mixtures, which decide among trained weights, every step here is a step back."""

    class Judged(Trainer):
        def _judge(self, history: History, step: int) -> Point:
            point = super()._judge(history, step)
            quality = Quality(loss=None, accuracy=None, fidelity=0.5, divergence=plain ** min(step, 1))
            point = replace(point, objective=1.0 + step, quality=quality)
            history.points[-1] = point
            return point

    history = trainer(network(), replace(QUICK, distill=1.0), DISTILL, kind=Judged).run()
    assert history.best is not None
    first = min(p.step for p in history.points if p.step > 0)
    assert history.best.step == (first if plain < 1 else 0)


MASKS = """(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[6,3,3,3] w, float[4,6,1,1] head>
{ p = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(p)  y = Conv(r, head) }"""


@pytest.mark.parametrize("augment", ["auto", "flip+shift", "cutmix"])
@pytest.mark.parametrize("distill", [0.0, 0.3, 0.9])
def test_labels_of_places_are_never_held_against_a_view(augment: str, distill: float) -> None:
    model = normalize(load_model(as_model(MASKS, 17).SerializeToString()))
    x = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    teacher, student = Network(model), Network(model)
    with torch.no_grad():
        labels = teacher(torch.as_tensor(x))[0].argmax(1).numpy()
        for p in student.parameters():
            p.add_(0.05)
    seen: list[Lesson] = []

    class Seeing(Trainer):
        def _lesson(self, part: Dataset) -> Lesson:
            seen.append(super()._lesson(part))
            return seen[-1]

    history = Seeing(
        *(student, teacher, Dataset(inputs={"x": x}, labels=labels), CLASSES),
        replace(QUICK, steps=4, batch_size=8, augment=augment, distill=distill),
        **{"seed": 0, "device": torch.device("cpu"), "progress": NullProgress()},  # type: ignore[arg-type]
    ).run()
    assert bool(history.augmentations) == all(lesson.labels is None for lesson in seen) == (distill > 0.5)
    for lesson in seen:
        if lesson.labels is not None:
            assert torch.equal(teacher(*lesson.inputs)[0].argmax(1), lesson.labels)
    assert history.points[0].quality.loss is not None


def test_where_labels_stay_views_keep_them() -> None:
    made = trainer(network(), replace(QUICK, augment="shift"))
    assert made._lesson(samples(8)).labels is not None
