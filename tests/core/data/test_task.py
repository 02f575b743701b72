from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sosp_core.config import Objective
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task, resolve_task
from sosp_core.errors import DataMismatch
from sosp_core.ir.interface import interface
from tests.zoo.built import prepare
from tests.zoo.graphs import as_model

CLASSES, NUMBERS = np.array([0, 2, 1]), np.ones((3, 4), np.float32)
TEXTS = {
    "plain": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { y = MatMul(x, w) }",
    "softmax": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { z = MatMul(x, w)  y = Softmax(z) }",
    "sigmoid": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { z = MatMul(x, w)  y = Sigmoid(z) }",
}


@pytest.mark.parametrize(
    ("last", "labels", "objective", "kind"),
    [
        ("plain", CLASSES, Objective.AUTO, Kind.LOGITS),
        ("softmax", CLASSES, Objective.AUTO, Kind.PROBABILITIES),
        ("plain", NUMBERS, Objective.AUTO, Kind.VALUES),
        ("plain", None, Objective.AUTO, Kind.VALUES),
        ("softmax", None, Objective.AUTO, Kind.PROBABILITIES),
        ("sigmoid", None, Objective.AUTO, Kind.BINARY_PROBABILITIES),
        ("plain", NUMBERS, Objective.BCE, Kind.BINARY_LOGITS),
        ("sigmoid", NUMBERS, Objective.BCE, Kind.BINARY_PROBABILITIES),
        ("plain", CLASSES, Objective.CROSS_ENTROPY, Kind.LOGITS),
        ("plain", NUMBERS, Objective.MSE, Kind.VALUES),
        ("plain", CLASSES, Objective.DISTILL, Kind.VALUES),
        ("softmax", CLASSES, Objective.DISTILL, Kind.PROBABILITIES),
    ],
)
def test_outputs_mean_what_labels_and_the_last_operator_say(
    last: str, labels: np.ndarray | None, objective: Objective, kind: Kind
) -> None:
    model = prepare(as_model(TEXTS[last], 17).SerializeToString()).model
    data = Dataset(inputs={"x": np.zeros((3, 4), np.float32)}, labels=labels)
    task = resolve_task(model, interface(model), data, objective)
    assert task.kinds == (kind,)
    assert task.labelled == (labels is not None and objective is not Objective.DISTILL)


@pytest.mark.parametrize(
    ("labels", "objective", "expected", "got"),
    [
        (np.array([0, 4, 1]), Objective.AUTO, "classes 0..4 (exclusive)", "0..4"),
        (np.array([0, -1, 1]), Objective.AUTO, "classes 0..4 (exclusive)", "-1..1"),
        (np.array([[0], [1], [2]]), Objective.AUTO, "integer classes [3]", "int64[3, 1]"),
        (np.zeros(3), Objective.CROSS_ENTROPY, "integer classes [3]", "float64[3]"),
        (np.zeros((3, 5)), Objective.MSE, "numbers shaped as the output ['N', 4]", "float64[3, 5]"),
        (None, Objective.BCE, "labels for objective bce", "nothing"),
    ],
)
def test_labels_that_do_not_fit_are_described(
    labels: np.ndarray | None, objective: Objective, expected: str, got: str
) -> None:
    model = prepare(as_model(TEXTS["plain"], 17).SerializeToString()).model
    data = Dataset(inputs={"x": np.zeros((3, 4), np.float32)}, labels=labels)
    with pytest.raises(DataMismatch) as caught:
        resolve_task(model, interface(model), data, objective)
    assert caught.value.details() == {"field": "labels", "expected": expected, "got": got}


OUTPUT = torch.tensor([[0.2, -1.0, 0.7], [1.5, 0.1, -0.4]], dtype=torch.float64)
OTHER = torch.tensor([[0.1, -0.8, 0.9], [1.1, 0.3, -0.2]], dtype=torch.float64)


def as_kind(kind: Kind, scores: torch.Tensor) -> torch.Tensor:
    if kind in (Kind.PROBABILITIES, Kind.PROBABILITY_SCORES):
        return scores.softmax(1)
    return scores.sigmoid() if kind is Kind.BINARY_PROBABILITIES else scores


@pytest.mark.parametrize("kind", Kind)
def test_nothing_diverges_from_itself(kind: Kind) -> None:
    task = Task(kinds=(kind,), labelled=False)
    y = as_kind(kind, OUTPUT)
    assert float(task.distilled([y], [y])) == pytest.approx(0.0, abs=1e-11)
    assert float(task.distilled([as_kind(kind, OTHER)], [y])) > 1e-3


@pytest.mark.parametrize(
    ("one", "other"), [(Kind.LOGITS, Kind.PROBABILITIES), (Kind.BINARY_LOGITS, Kind.BINARY_PROBABILITIES)]
)
def test_scores_and_their_probabilities_have_the_same_losses(one: Kind, other: Kind) -> None:
    labels = torch.tensor([2, 0]) if one is Kind.LOGITS else torch.tensor([[0, 1, 1], [1, 0, 0]])
    losses = []
    for kind in (one, other):
        task, y, r = Task(kinds=(kind,), labelled=True), as_kind(kind, OUTPUT), as_kind(kind, OTHER)
        losses.append((float(task.supervised([y], labels)), float(task.distilled([y], [r]))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_distillation_of_scores_is_the_divergence_of_distributions() -> None:
    task = Task(kinds=(Kind.LOGITS,), labelled=False)
    p, q = OTHER.softmax(1), OUTPUT.softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    assert float(task.distilled([OUTPUT], [OTHER])) == pytest.approx(float(expected), rel=1e-12)
    soft = F.kl_div((OUTPUT / 3).log_softmax(1), (OTHER / 3).softmax(1), reduction="batchmean") * 9
    assert float(task.distilled([OUTPUT], [OTHER], 3.0)) == pytest.approx(float(soft), rel=1e-9)


def test_values_are_compared_in_units_of_the_originals_variance() -> None:
    task = Task(kinds=(Kind.VALUES,), labelled=False)
    expected = F.mse_loss(OUTPUT, OTHER) / OTHER.var(unbiased=False)
    assert float(task.distilled([OUTPUT], [OTHER])) == pytest.approx(float(expected), rel=1e-9)
    measured = task.measured_on([(OTHER[:1],), (OTHER[1:],)])
    assert measured.variances == pytest.approx([float(OTHER.var(unbiased=False))])
    halves = [float(measured.distilled([OUTPUT[i : i + 1]], [OTHER[i : i + 1]])) for i in (0, 1)]
    assert sum(halves) / 2 == pytest.approx(float(expected), rel=1e-9)


def test_answers_are_compared_as_numbers_whatever_the_labels_say() -> None:
    task = Task(kinds=(Kind.LOGITS, Kind.BINARY_LOGITS, Kind.PROBABILITIES), labelled=True)
    kinds = (Kind.SCORES, Kind.VALUES, Kind.PROBABILITY_SCORES)
    assert task.of_answers() == Task(kinds=kinds, labelled=False)


def test_answers_are_the_same_before_and_after_a_softmax() -> None:
    """And what all scores of a sample have in common, which no answer depends on, is left out."""
    found = []
    for kind, y, r in (
        (Kind.LOGITS, OUTPUT, OTHER),
        (Kind.LOGITS, OUTPUT + 5, OTHER - torch.tensor([[1.0], [2.0]])),
        (Kind.PROBABILITIES, OUTPUT.softmax(1), OTHER.softmax(1)),
    ):
        task = Task(kinds=(kind,), labelled=True).of_answers()
        found.append(float(task.measured_on([(r,)]).distilled([y], [r])))
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)
    expected = F.mse_loss(OUTPUT - OUTPUT.mean(1, True), OTHER - OTHER.mean(1, True))
    assert found[0] == pytest.approx(float(expected / (OTHER - OTHER.mean(1, True)).var(unbiased=False)))


def test_several_outputs_add_up_and_integers_are_left_out() -> None:
    task = Task(kinds=(Kind.LOGITS, Kind.VALUES, Kind.VALUES), labelled=False)
    outputs, reference = [OUTPUT, OUTPUT, torch.tensor([1, 2])], [OTHER, OTHER, torch.tensor([5, 6])]
    parts = [
        float(Task(kinds=(kind,), labelled=False).distilled([OUTPUT], [OTHER]))
        for kind in (Kind.LOGITS, Kind.VALUES)
    ]
    assert float(task.distilled(outputs, reference)) == pytest.approx(sum(parts), rel=1e-12)


def test_of_a_softmax_over_the_last_axis_the_scores_are_centred_there() -> None:
    task = Task(kinds=(Kind.PROBABILITIES,), labelled=False).of_answers()
    generator = torch.Generator().manual_seed(0)
    y, r = (torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    apart, (a, b) = task.measured_on([(r.softmax(-1),)]), (t - t.mean(-1, True) for t in (y, r))
    expected = float(F.mse_loss(a, b) / b.var(unbiased=False))
    assert float(apart.distilled([y.softmax(-1)], [r.softmax(-1)])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kind", "labelled"), [*((kind, False) for kind in Kind), (Kind.VALUES, True)])
def test_roots_multiply_to_the_curvature_of_each_samples_loss(kind: Kind, labelled: bool) -> None:
    """Of likelihoods the curvature at the outputs themselves, which no label changes."""
    y = as_kind(kind, OUTPUT)
    task = Task(kinds=(kind,), labelled=labelled)
    if not labelled:
        task = task.measured_on([(y,)])
    roots = [z[0] for z in task.curvature_roots([y], 16, torch.Generator()) if z[0] is not None]
    for i in range(len(y)):
        root = torch.stack([z[i] for z in roots])

        def loss(out: torch.Tensor, i: int = i) -> torch.Tensor:
            if labelled:
                return task.supervised([out[None]], torch.zeros(1, 3))
            return task.distilled([out[None]], [y[i : i + 1]])

        expected = torch.autograd.functional.hessian(loss, y[i])
        torch.testing.assert_close(root.T @ root, expected, rtol=1e-6, atol=1e-9)
