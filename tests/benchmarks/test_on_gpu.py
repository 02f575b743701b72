"""What a step of fine-tuning and a round of scores take on a GPU, as ratios in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from sosp_core.config import FinetuneConfig, Precision
from sosp_core.convert.network import Network
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.finetune.features import shared_features
from sosp_core.finetune.gradients import Direct, Replayed
from sosp_core.finetune.loop import Trainer
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.progress import NullProgress
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.saliency.rows import gradient_and_root
from sosp_core.structures.gating import gate_model
from tests.zoo.built import prepare

MODEL = Path(__file__).parents[2].parent / "shared" / "models" / "resnet56_cifar10.onnx"
CLASSES = Task(kinds=(Kind.LOGITS,), labelled=True)
STEPS, TURNS, SCORED = 20, 5, 64

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.shared,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch sees"),
]

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{torch.cuda.get_device_name()}: {text}", flush=True)  # noqa: T201

    return tell


def images(n: int) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3, 32, 32)).astype(np.float32)
    return Dataset(inputs={"input": x}, labels=rng.integers(0, 10, n))


def seconds(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - began


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("batch", [32, 128, 512])
def test_a_recorded_step_takes_less_than_a_direct_one(batch: int, precision: Precision, say: Say) -> None:
    if not MODEL.exists():
        pytest.skip("needs resnet56_cifar10.onnx in ../shared, not part of the project")
    built = prepare(MODEL.read_bytes())
    student, teacher = Network(built.model), Network(fold_batchnorm(built.model.clone()))
    config = FinetuneConfig(batch_size=batch, steps=1, precision=precision)
    features = shared_features(built.structures, built.structures.all_alive(), student, teacher)
    given = Trainer(
        *(student, teacher, images(4 * batch), CLASSES, config),
        seed=0,
        device=torch.device("cuda"),
        progress=NullProgress(),
        features=features,
    )
    optimizer, replayed = given._optimizer(), given._gradients
    part = next(iter(given._train.batches(batch)))
    assert isinstance(replayed, Replayed)

    def steps(gradients: Direct) -> float:
        given._gradients = gradients
        return seconds(lambda: [given._step(optimizer, part) for _ in range(STEPS)]) / STEPS

    # Not in turns: a direct step would throw away what the recording writes its gradients to.
    found = {}
    for name, gradients in (("direct", Direct(student, replayed._loss)), ("recorded", replayed)):
        steps(gradients)
        found[name] = median(steps(gradients) for _ in range(TURNS))
    assert replayed._graph is not None
    told = ", ".join(f"{name} {1e3 * taken:.1f} ms" for name, taken in found.items())
    say(f"ResNet-56, a step of {batch} images, {precision}: {told}")
    assert found["recorded"] < found["direct"]


def test_scores_on_the_gpu_against_the_processor(say: Say) -> None:
    if not MODEL.exists():
        pytest.skip("needs resnet56_cifar10.onnx in ../shared, not part of the project")
    built = prepare(MODEL.read_bytes())
    gated = gate_model(built.model, built.structures, built.shapes)
    fold_batchnorm(gated.model)
    alive, taken = built.structures.all_alive(), {}
    for name in ("cuda", "cpu"):
        space = MaskSpace(gated, images(SCORED), CLASSES, batch_size=32, device=torch.device(name))
        gradient_and_root(space, alive, 0)
        taken[name] = seconds(lambda s=space: gradient_and_root(s, alive, 0))  # type: ignore[misc]
    threads = torch.get_num_threads()
    say(f"scores of {SCORED} images: {taken['cuda']:.2f} s, on {threads} threads {taken['cpu']:.2f} s")
    assert taken["cuda"] < taken["cpu"]
