"""Training on several devices: here two or three processes of the processor, which meet as GPUs would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sosp_core import compress
from sosp_core.config import FinetuneConfig
from sosp_core.convert.network import Network
from sosp_core.data.axes import Axes
from sosp_core.data.task import Kind, Task
from sosp_core.errors import Cancelled, DeviceLost
from sosp_core.finetune.features import FeatureLoss, shared_features
from sosp_core.finetune.gradients import Direct
from sosp_core.finetune.lesson import Lesson, LessonLoss
from sosp_core.finetune.loop import Trainer
from sosp_core.finetune.team import Mates, Shared, assembled
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.session import open_session, run
from tests.core.digits import INPUT, digits, digits_model, exported, recipe, save_digits
from tests.core.finetune.test_loop import CLASSES, DISTILL, StopsAfter, samples, weights
from tests.zoo.built import prepare

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
STEPS = FinetuneConfig(steps=20, batch_size=32, augment="none", holdout=0.25, lr=0.05, features=0.0)


def plain(*last: nn.Module) -> bytes:
    """A network whose loss is the mean of its samples' losses, whoever computes them."""
    torch.manual_seed(0)
    return exported(
        nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10)),
            *last,
        ).eval()
    )


def trained(content: bytes, size: int, config: FinetuneConfig, **options: object) -> tuple[Network, Trainer]:
    """A student that began elsewhere than the teacher, after a run of so many processes."""
    model = normalize(load_model(content))
    student, teacher = Network(model), Network(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    given: dict[str, object] = {"seed": 0, "device": CPU, "progress": StopsAfter(10**6), "task": CLASSES}
    given |= options | {"mates": Mates(devices=(CPU,) * size, student=model, teacher=model)}
    task = given.pop("task")
    data = samples(labels=task.labelled)  # type: ignore[attr-defined]
    made = Trainer(student, teacher, data, task, config, **given)  # type: ignore[arg-type]
    made.run()
    return student, made


@pytest.mark.parametrize("augment", ["none", "shift+mixup+cutmix"])
@pytest.mark.parametrize("size", [2, 3])
def test_several_devices_take_the_steps_of_one(size: int, augment: str) -> None:
    config = replace(STEPS, augment=augment)
    (alone, _), (together, run_together) = trained(plain(), 1, config), trained(plain(), size, config)
    assert isinstance(run_together._gradients, Shared)
    expected = weights(alone)
    for name, tensor in weights(together).items():
        assert torch.allclose(tensor, expected[name], rtol=1e-4, atol=1e-5), name


def test_without_labels_they_learn_as_well() -> None:
    (alone, first), (together, second) = (trained(plain(), n, STEPS, task=DISTILL) for n in (1, 2))
    assert isinstance(second._gradients, Shared)
    before, after = (r._views and r._quality(r._held, r._task) for r in (first, second))
    assert after.divergence == pytest.approx(before.divergence, rel=0.1)
    assert weights(alone).keys() == weights(together).keys()


def test_all_of_them_are_told_what_outputs_mean() -> None:
    """Where features are, and how much each of them varies: or a mate would compute another loss."""
    content = plain(nn.Unflatten(1, (2, 5)))
    task = Task(
        kinds=(Kind.VALUES,),
        labelled=False,
        variances=((0.1, 1.0, 2.0, 3.0, 4.0),),
        axes=(Axes(samples=0, features=2),),
    )
    (alone, _), (together, _) = (trained(content, n, STEPS, task=task) for n in (1, 2))
    expected = weights(alone)
    for name, tensor in weights(together).items():
        assert torch.allclose(tensor, expected[name], rtol=1e-4, atol=1e-5), name


def test_gradients_and_statistics_are_the_means_over_the_parts() -> None:
    model = normalize(load_model(digits_model()))
    teacher, config = Network(model), replace(STEPS, features=1.0)
    x, y = (torch.as_tensor(a[:20]) for a in digits())
    lesson = Lesson(inputs=(x,), labels=y, others=y.flip(0), share=torch.tensor(0.7))

    def fresh() -> tuple[Network, Direct]:
        student = Network(model).train()
        features = FeatureLoss(shared_features(built.structures, alive, student, teacher), CPU)
        return student, Direct(student, LessonLoss(student, teacher, CLASSES, config, features, mixed=False))

    built = prepare(digits_model())
    alive = built.structures.all_alive()
    expected: dict[str, torch.Tensor] = {}
    for part in (lesson.part(0, 2), lesson.part(1, 2)):
        student, gradients = fresh()
        gradients([part])
        found = {n: p.grad for n, p in student.named_parameters()} | dict(student.named_buffers())
        expected = {n: expected.get(n, 0) + t / 2 for n, t in found.items() if t is not None}
    student, local = fresh()
    together = assembled(
        *(Mates(devices=(CPU, CPU), student=model, teacher=model), local, student),
        task=CLASSES,
        config=config,
        features=shared_features(built.structures, alive, student, teacher),
        trains=True,
        mixed=False,
    )
    with together as shared:
        shared([lesson])
        shared([lesson])  # gradients are of one lesson, not of all so far
        student.load_state_dict(Network(model).state_dict())
        shared([lesson])
    got = {n: p.grad for n, p in student.named_parameters()} | dict(student.named_buffers())
    for name, tensor in expected.items():
        assert torch.allclose(got[name], tensor, rtol=1e-4, atol=1e-6), name  # type: ignore[arg-type]


def test_few_samples_a_device_are_worse_than_fewer_devices() -> None:
    """Normalisation over four samples is noise: of eight devices four get work, or one."""
    _, made = trained(digits_model(), 8, replace(STEPS, steps=1))
    assert isinstance(made._gradients, Shared)
    assert len(made._gradients._team) + 1 == 32 // 8
    _, made = trained(digits_model(), 8, replace(STEPS, steps=1, batch_size=8))
    assert not isinstance(made._gradients, Shared)


def children() -> set[int]:
    """Processes of ours that train along."""
    told = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "sosp_core.finetune.mate"], capture_output=True
    )
    return {int(line) for line in told.stdout.split()}


class Kills(StopsAfter):
    """Ends a mate in the middle of a training, and remembers when."""

    def report(self, stage: str, done: float, message: str = "", **more: object) -> None:
        super().report(stage, done, message, **more)  # type: ignore[arg-type]
        if len(self.metrics) == 5:
            (mate,) = children()
            os.kill(mate, signal.SIGKILL)


def test_a_lost_device_is_named_and_soon() -> None:
    began = time.monotonic()
    with pytest.raises(DeviceLost) as caught:
        trained(plain(), 2, STEPS, progress=Kills(10**6))
    assert caught.value.device == "cpu"
    assert time.monotonic() - began < 120
    assert not children()
    trained(plain(), 2, replace(STEPS, steps=2))  # and the next training finds nothing in its way


def test_a_mate_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sosp_core.finetune.team.serialize", lambda model: b"no model")
    with pytest.raises(DeviceLost) as caught:
        trained(plain(), 2, STEPS)
    assert "Error" in caught.value.reason
    assert not children()


def test_who_cancels_leaves_no_process_behind() -> None:
    with pytest.raises(Cancelled):
        trained(plain(), 2, STEPS, progress=StopsAfter(3))
    assert not children()


LEADS = """
import os
from dataclasses import replace
from service.lifeline import die_with
from tests.core.finetune.test_team import STEPS, plain, trained
die_with(os.getppid())
trained(plain(), 2, replace(STEPS, steps=10**6))
"""


def test_mates_do_not_outlive_a_leader_that_was_killed() -> None:
    leader = subprocess.Popen([sys.executable, "-c", LEADS], cwd=ROOT)
    mates: set[int] = set()
    while not mates:
        assert leader.poll() is None
        told = subprocess.run(
            ["pgrep", "-P", str(leader.pid), "-f", "finetune.mate"], capture_output=True, check=False
        )
        mates = set(told.stdout.decode().split())
        time.sleep(0.2)
    leader.kill()
    leader.wait()
    for _ in range(300):
        if not any(Path(f"/proc/{mate}/cmdline").exists() for mate in mates):
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {mates}")


def test_a_job_on_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, test = save_digits(tmp_path / "data.npz"), save_digits(tmp_path / "test.npz", first=1300)
    job = replace(recipe(), finetune=FinetuneConfig(epochs=4, augment="shift"))
    started: list[str] = []
    start = subprocess.Popen

    def popen(command: list[str], **more: object) -> subprocess.Popen[bytes]:
        started.append(" ".join(command[1:4]))
        return start(command, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("sosp_core.finetune.team.subprocess.Popen", popen)
    done = compress(digits_model(), data, job, out_dir=tmp_path / "out", evaluation=test, device="cpu,cpu")
    x, y = (a[1300:1700] for a in digits())
    answers = run(open_session(done.model.read_bytes()), {INPUT: x})["scores"].argmax(1)
    assert float(np.mean(answers == y)) > 0.85
    assert [c for c in started if "finetune" in c] == ["-P -m sosp_core.finetune.mate"]
