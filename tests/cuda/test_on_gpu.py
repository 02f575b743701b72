"""What only a GPU can show. Run by ``make test`` where PyTorch sees one, and skipped where not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sosp_core import compress
from sosp_core.config import FinetuneConfig, Method, Optimizer, Precision
from sosp_core.data.task import Kind, Task
from sosp_core.finetune.gradients import Direct, Replayed
from sosp_core.finetune.lesson import Lesson
from sosp_core.finetune.loop import Trainer
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.runtime.session import open_session, run
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.structures.gating import gate_model
from tests.core.digits import digits, digits_model, recipe, save_digits
from tests.core.finetune.test_loop import StopsAfter, network, samples, trainer, weights
from tests.core.test_checkpoints import interrupted, kept
from tests.zoo.built import prepare

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch sees")

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
CLASSES = Task(kinds=(Kind.LOGITS,), labelled=True)
LONGER = FinetuneConfig(steps=60, batch_size=32, augment="auto", holdout=0.25, lr=0.05)


@pytest.mark.parametrize("method", [m for m in Method if m is not Method.AUTO])
def test_every_criterion_scores_as_on_the_processor(method: Method) -> None:
    built = prepare(digits_model())

    def scores(device: torch.device) -> np.ndarray:
        gated = gate_model(built.model, built.structures, built.shapes)
        fold_batchnorm(gated.model)
        criterion = criteria[method]
        task = criterion.task(CLASSES)
        space = MaskSpace(gated, samples(64), task, batch_size=32, device=device)
        scene = Scene(model=built.model, structures=built.structures, space=lambda: space, seed=0)
        return criterion(scene, built.structures.all_alive()).scores

    here, there = scores(CPU), scores(GPU)
    # Convolutions may round their factors to ten bits there.
    assert np.abs(there - here).max() <= 0.02 * np.abs(here).max()


def test_a_job_of_its_own_accord_runs_on_the_gpu(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "data.npz")
    test = save_digits(tmp_path / "test.npz", first=1300)
    job = replace(recipe(), finetune=FinetuneConfig(epochs=8, augment="auto"))
    done = compress(digits_model(), data, job, out_dir=tmp_path / "out", evaluation=test)
    assert torch.cuda.get_device_name() in (tmp_path / "out" / "report.json").read_text()
    x, y = (a[1300:1700] for a in digits())
    answers = run(open_session(done.model.read_bytes()), {"image": x})["scores"].argmax(1)
    assert (answers == y).mean() > 0.9


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_damaged_network_recovers(optimizer: Optimizer, precision: Precision) -> None:
    student = network(noise=0.5)
    config = replace(LONGER, optimizer=optimizer, precision=precision, lr=None)
    history = trainer(student, config, device=GPU).run()
    assert history.best is not None
    assert history.best.quality.divergence < 0.7 * history.points[0].quality.divergence
    assert all(torch.isfinite(tensor).all() for tensor in weights(student).values())


def lessons(of: Trainer, number: int) -> list[Lesson]:
    parts = list(of._train.batches(32, drop_last=True))[:number]
    return [of._lesson(part) for part in parts]


@pytest.mark.parametrize(
    "task", [CLASSES, Task(kinds=(Kind.VALUES,), labelled=False)], ids=["labels", "none"]
)
def test_a_replayed_step_leaves_the_gradients_of_a_direct_one(task: Task) -> None:
    student = network(noise=0.3)
    config = replace(LONGER, precision=Precision.FP32)
    given = trainer(student, config, task, device=GPU)
    student.train()
    replayed = given._gradients
    assert isinstance(replayed, Replayed)
    direct = Direct(student, replayed._loss)
    before, taught = weights(student), lessons(given, 4)

    def step(gradients: Direct, lesson: Lesson) -> tuple[float, list[Tensor], dict[str, Tensor]]:
        student.load_state_dict(before)
        loss = gradients([lesson])
        return loss, [p.grad.clone() for p in student.parameters() if p.grad is not None], weights(student)

    expected = [step(direct, lesson) for lesson in taught]
    got = [step(replayed, lesson) for lesson in taught]
    assert replayed._graph is not None
    for (loss, gradients, moved), (loss_again, gradients_again, moved_again) in zip(
        expected, got, strict=True
    ):
        assert loss_again == pytest.approx(loss, rel=1e-3)
        for a, b in zip(gradients, gradients_again, strict=True):
            assert (a - b).norm() <= 1e-2 * a.norm() + 1e-6
        # Statistics of normalisation move once a step, however often the step was tried before.
        assert all(torch.allclose(moved_again[n], t, rtol=1e-2, atol=1e-4) for n, t in moved.items())
    assert len({round(loss, 6) for loss, _, _ in got}) == len(taught)


def test_one_recording_serves_all_steps() -> None:
    student = network(noise=0.3)
    given = trainer(student, replace(LONGER, precision=Precision.FP32), device=GPU)
    given.run()
    replayed = given._gradients
    assert isinstance(replayed, Replayed)
    assert replayed._graph is not None


class Looks(nn.Module):
    """The host has to know a result before it can go on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, device=GPU))

    def loss(self, lesson: Lesson) -> Tensor:
        (x,) = lesson.inputs
        return (self.weight * x).square().sum() * (2.0 if float(x.sum()) > 0 else 1.0)


def test_what_cannot_be_recorded_runs_as_it_comes() -> None:
    module = Looks()
    replayed = Replayed(module, module.loss)
    for factor in (1.0, -1.0, 2.0):
        x = factor * torch.ones(3, device=GPU)
        scale = 2.0 if factor > 0 else 1.0
        assert replayed([Lesson(inputs=(x,))]) == pytest.approx(3 * scale * factor**2)
        assert module.weight.grad is not None
        assert torch.allclose(module.weight.grad, torch.full((3,), 2 * scale * factor**2, device=GPU))
    assert replayed._graph is None
    assert not replayed._recordable
    # Recording others still works after one has failed.
    test_one_recording_serves_all_steps()


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    config = replace(LONGER, augment="shift")
    expected = trainer(network(noise=0.3), config, device=GPU).run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.core.test_checkpoints.trainer", lambda *a, **k: trainer(*a, device=GPU, **k))
        interrupted(tmp_path, config, 25)
    student = network(noise=0.3)
    history = trainer(student, config, device=GPU, kept=kept(tmp_path), progress=StopsAfter(100)).run()
    assert history.steps == expected.steps
    assert history.best is not None
    assert expected.best is not None
    # Sums of a GPU come in another order each time: close, not equal.
    assert history.best.quality.divergence == pytest.approx(expected.best.quality.divergence, rel=0.5)


STARVED = """
import sys
from pathlib import Path
import torch
from sosp_core import compress
from sosp_core.errors import OutOfMemory
from tests.core.digits import digits_model, recipe

torch.cuda.set_per_process_memory_fraction(1e-5)
place = Path(sys.argv[1])
try:
    compress(digits_model(), place / "data.npz", recipe(), out_dir=place / "out")
except OutOfMemory as error:
    print(error)
    sys.exit(7)
"""


def test_too_little_memory_is_an_error_that_says_so(tmp_path: Path) -> None:
    save_digits(tmp_path / "data.npz")
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "cuda" in done.stdout
