from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sosp_core.data.axes import Axes
from sosp_core.data.task import FLOOR, Kind, Task

OUTPUT = torch.tensor([[0.2, -1.0, 0.7], [1.5, 0.1, -0.4]], dtype=torch.float64)
OTHER = torch.tensor([[0.1, -0.8, 0.9], [1.1, 0.3, -0.2]], dtype=torch.float64)


JUDGED = [kind for kind in Kind if kind is not Kind.IGNORED]


def as_kind(kind: Kind, scores: torch.Tensor) -> torch.Tensor:
    if kind in (Kind.PROBABILITIES, Kind.PROBABILITY_SCORES):
        return scores.softmax(1)
    return scores.sigmoid() if kind is Kind.BINARY_PROBABILITIES else scores


@pytest.mark.parametrize("kind", JUDGED)
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


def test_values_are_compared_in_units_of_each_features_variance() -> None:
    task = Task(kinds=(Kind.VALUES,), labelled=False)
    unit = OTHER.var(0, unbiased=False)
    expected = ((OUTPUT - OTHER).square() / unit).mean()
    assert float(task.distilled([OUTPUT], [OTHER])) == pytest.approx(float(expected), rel=1e-9)
    measured = task.measured_on([(OTHER[:1],), (OTHER[1:],)])
    assert measured.variances == (pytest.approx(unit.tolist()),)
    halves = [float(measured.distilled([OUTPUT[i : i + 1]], [OTHER[i : i + 1]])) for i in (0, 1)]
    assert sum(halves) / 2 == pytest.approx(float(expected), rel=1e-9)


def test_features_that_hardly_vary_do_not_drown_the_rest() -> None:
    wanted = torch.tensor([[0.0, 5.0], [2.0, 5.0]], dtype=torch.float64)
    task = Task(kinds=(Kind.VALUES,), labelled=False).measured_on([(wanted,)])
    assert task.variances == ((1.0, FLOOR),)


def test_the_features_of_a_single_sample_share_a_scale() -> None:
    task = Task(kinds=(Kind.VALUES,), labelled=False).measured_on([(OTHER[:1],)])
    assert task.variances == ((pytest.approx(float(OTHER[:1].var(unbiased=False))),) * 3,)


@pytest.mark.parametrize("kind", JUDGED)
@pytest.mark.parametrize("labelled", [False, True])
def test_axes_in_another_order_make_no_difference(kind: Kind, labelled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    y, r = (as_kind(kind, torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    classes = kind in (Kind.LOGITS, Kind.PROBABILITIES)
    labels = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]]) if classes else torch.ones(2, 3, 4)
    found = []
    for task, turn in (
        (Task(kinds=(kind,), labelled=labelled), lambda t: t),
        (  # [positions, samples, classes]
            Task(kinds=(kind,), labelled=labelled, axes=(Axes(samples=1, features=2),)),
            lambda t: t.permute(2, 0, 1),
        ),
    ):
        measured = task.measured_on([(turn(r),)])
        losses = [measured.distilled([turn(y)], [turn(r)])]
        if labelled and kind not in (Kind.SCORES, Kind.PROBABILITY_SCORES):
            there = labels if classes or task.axes == () else labels.permute(0, 2, 1)
            losses.append(measured.supervised([turn(y)], there))
        roots = measured.curvature_roots([turn(y)], 2, 12, torch.Generator())
        squares = sum(z[0].square() for z in roots if z[0] is not None)
        back = squares.permute(1, 2, 0) if task.axes else squares
        found.append(torch.cat([torch.stack(losses), back.flatten()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_rows_that_samples_share_are_probed_at_random() -> None:
    """Of ``[samples x positions, classes]`` no axis says which sample is whose."""
    y = torch.zeros(6, 3, dtype=torch.float64)
    task = Task(kinds=(Kind.VALUES,), labelled=False, variances=((1.0, 1.0, 1.0),))
    roots = [z[0] for z in task.curvature_roots([y], 2, 9, torch.Generator()) if z[0] is not None]
    total = sum(z.square() for z in roots)
    torch.testing.assert_close(total, torch.full_like(y, 2 / 9), rtol=1e-9, atol=0)


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


def test_several_outputs_add_up_and_ignored_ones_are_left_out() -> None:
    task = Task(kinds=(Kind.IGNORED, Kind.LOGITS, Kind.VALUES), labelled=True)
    outputs, reference = [torch.tensor([1, 2]), OUTPUT, OUTPUT], [torch.tensor([5, 6]), OTHER, OTHER]
    parts = [
        float(Task(kinds=(kind,), labelled=False).distilled([OUTPUT], [OTHER]))
        for kind in (Kind.LOGITS, Kind.VALUES)
    ]
    assert float(task.distilled(outputs, reference)) == pytest.approx(sum(parts), rel=1e-12)
    hard = float(F.cross_entropy(OUTPUT, torch.tensor([2, 0])))
    assert float(task.supervised(outputs, torch.tensor([2, 0]))) == pytest.approx(hard, rel=1e-12)


def test_of_a_softmax_over_the_last_axis_the_scores_are_centred_there() -> None:
    task = Task(kinds=(Kind.PROBABILITIES,), labelled=False, axes=(Axes(features=2),)).of_answers()
    generator = torch.Generator().manual_seed(0)
    y, r = (torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    apart, (a, b) = task.measured_on([(r.softmax(-1),)]), (t - t.mean(-1, True) for t in (y, r))
    expected = float(F.mse_loss(a, b) / b.var(unbiased=False))
    assert float(apart.distilled([y.softmax(-1)], [r.softmax(-1)])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kind", "labelled"), [*((kind, False) for kind in JUDGED), (Kind.VALUES, True)])
def test_roots_multiply_to_the_curvature_of_each_samples_loss(kind: Kind, labelled: bool) -> None:
    """Of likelihoods the curvature at the outputs themselves, which no label changes."""
    y = as_kind(kind, OUTPUT)
    task = Task(kinds=(kind,), labelled=labelled)
    if not labelled:
        task = task.measured_on([(y,)])
    roots = [z[0] for z in task.curvature_roots([y], len(y), 16, torch.Generator()) if z[0] is not None]
    for i in range(len(y)):
        root = torch.stack([z[i] for z in roots])

        def loss(out: torch.Tensor, i: int = i) -> torch.Tensor:
            if labelled:
                return task.supervised([out[None]], torch.zeros(1, 3))
            return task.distilled([out[None]], [y[i : i + 1]])

        expected = torch.autograd.functional.hessian(loss, y[i])
        torch.testing.assert_close(root.T @ root, expected, rtol=1e-6, atol=1e-9)
