"""What fidelity and accuracy are, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sosp_core.data.axes import Axes
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.finetune.evaluate import Forward, Quality, evaluate

N = 10


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def given(*outputs: Tensor, samples: int = 0) -> Forward:
    """Outputs that were computed before, by the number of the sample along its axis."""

    def answer(batch: Dataset) -> list[Tensor]:
        return [y.index_select(samples, torch.as_tensor(batch.inputs["x"])) for y in outputs]

    return answer


def judged(network: Forward, original: Forward, task: Task, labels: np.ndarray | None = None) -> Quality:
    return evaluate(network, original, Dataset(inputs={"x": np.arange(N)}, labels=labels), task, 4)


def values(outputs: int = 1, axes: Axes | None = None) -> Task:
    return Task(
        kinds=(Kind.VALUES,) * outputs, labelled=False, axes=() if axes is None else (axes,) * outputs
    )


def r2(y: Tensor, wanted: Tensor) -> float:
    return max(0.0, float(1 - (y - wanted).square().sum() / (wanted - wanted.mean()).square().sum()))


def test_features_count_about_their_own_means() -> None:
    wanted = torch.stack([draw(N), 1000 + 1e-2 * draw(N, seed=1), 0.5 * draw(N, seed=2)], 1).double()
    y = wanted + torch.tensor([0.1, 0.1, 0.0]) * draw(N, 3, seed=3)
    each = [r2(y[:, i], wanted[:, i]) for i in range(3)]
    assert each[0] > 0.9
    assert each[1:] == [0.0, 1.0]
    assert judged(given(y), given(wanted), values()).fidelity == pytest.approx(sum(each) / 3, rel=1e-9)


def test_features_that_do_not_vary_are_left_out() -> None:
    wanted = torch.stack([draw(N), torch.full((N,), 0.1)], 1)
    y = wanted + 0.1 * draw(N, 2, seed=1)
    found = judged(given(y), given(wanted), values()).fidelity
    assert found == pytest.approx(r2(y[:, 0], wanted[:, 0]), rel=1e-5)
    constant = torch.ones(N, 2)
    assert judged(given(constant), given(constant), values()).fidelity == 1.0
    assert judged(given(1.1 * constant), given(constant), values()).fidelity == pytest.approx(0.99)


def test_boxes_in_pixels_do_not_hide_scores() -> None:
    """Both in one tensor ``[N, 4 + classes, anchors]``."""
    scale = torch.tensor([640.0, 640.0, 1.0, 1.0])[:, None]
    wanted, other = scale * draw(N, 4, 20), scale * draw(N, 4, 20, seed=1)
    y = torch.cat([wanted[:, :2], other[:, 2:]], 1)
    assert judged(given(y), given(wanted), values()).fidelity == pytest.approx(0.5, abs=0.01)


def test_outputs_count_alike() -> None:
    wanted, other = draw(N, 2), draw(N, 5, seed=1)
    y, task = draw(N, 2, seed=2), values(2)
    assert judged(given(y, other), given(wanted, other), task).fidelity == pytest.approx(
        0.5 + 0.5 * sum(r2(y[:, i], wanted[:, i]) for i in range(2)) / 2
    )


@pytest.mark.parametrize("kind", [Kind.LOGITS, Kind.PROBABILITIES])
def test_classes_are_compared_along_their_axis(kind: Kind) -> None:
    """Of ``[T, N, C]``, as recognisers of text have it."""
    y, wanted = draw(6, N, 3).softmax(2), draw(6, N, 3, seed=1).softmax(2)
    labels = np.random.default_rng(0).integers(0, 3, (N, 6))
    task = Task(kinds=(kind,), labelled=True, axes=(Axes(samples=1, features=2),))
    quality = judged(given(y, samples=1), given(wanted, samples=1), task, labels)
    assert quality.fidelity == pytest.approx(float((y.argmax(2) == wanted.argmax(2)).float().mean()))
    assert quality.accuracy == pytest.approx(float((y.argmax(2).T.numpy() == labels).mean()))


def test_ignored_outputs_are_not_judged() -> None:
    first, y = torch.arange(N), draw(N, 3)
    task = Task(kinds=(Kind.IGNORED, Kind.LOGITS), labelled=True)
    quality = judged(given(first, y), given(first + 1, y), task, y.argmax(1).numpy())
    assert (quality.fidelity, quality.accuracy) == (1.0, 1.0)
