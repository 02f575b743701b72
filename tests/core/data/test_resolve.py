"""What outputs mean, and where their samples and classes are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from sosp_core.config import Objective
from sosp_core.data.axes import Axes, Seen
from sosp_core.data.dataset import Dataset
from sosp_core.data.resolve import resolve_task
from sosp_core.data.task import Kind, Task
from sosp_core.errors import DataMismatch, UnsupportedModel
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from tests.zoo.graphs import as_model

CLASSES, NUMBERS, TRUTHS = np.array([0, 2, 1]), np.ones((3, 4), np.float32), np.ones((3, 4), bool)
TEXTS = {
    "plain": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { y = MatMul(x, w) }",
    "softmax": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { z = MatMul(x, w)  y = Softmax(z) }",
    "sigmoid": "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { z = MatMul(x, w)  y = Sigmoid(z) }",
    "one": "(float[N,4] x) => (float[N,1] y) <float[4,1] w> { y = MatMul(x, w) }",
    "sequence": "(float[N,T,4] x) => (float[N,T,4] y) <float[4,4] w> { y = MatMul(x, w) }",
    "biased": "(float[N,T,4] x) => (float[N,T,4] y) <float[4,4] w, float[4] b> "
    "{ z = MatMul(x, w)  y = Add(b, z) }",
    "convolved": "(float[N,4,T] x) => (float[N,4,T] y) <float[4,4,1] w> { y = Conv(x, w) }",
    "tokens": "(float[N,T,4] x) => (float[N,T,4] y) <float[4,4] w> { z = MatMul(x, w)  y = Softmax(z) }",
    "time_first": "(float[T,N,4] x) => (float[T,N,4] y) <float[4,4] w> "
    "{ z = MatMul(x, w)  y = Softmax <axis = 2> (z) }",
}
#: The shapes of ``y`` for two numbers of samples, where they are not ``[N, 4]``.
SHAPES = {
    "one": [(2, 1), (3, 1)],
    "sequence": [(2, 5, 4), (3, 5, 4)],
    "biased": [(2, 5, 4), (3, 5, 4)],
    "convolved": [(2, 4, 5), (3, 4, 5)],
    "tokens": [(2, 5, 4), (3, 5, 4)],
    "time_first": [(5, 2, 4), (5, 3, 4)],
}


def model_of(text: str, opset: int = 17) -> ir.Model:
    return normalize(load_model(as_model(text, opset).SerializeToString()))


def resolved(
    name: str,
    labels: np.ndarray | None,
    objective: Objective = Objective.AUTO,
    shapes: list[tuple[int, ...]] | None = None,
    opset: int = 17,
) -> Task:
    model = model_of(TEXTS[name], opset)
    data = Dataset(inputs={"x": np.zeros((3, 4), np.float32)}, labels=labels)
    shapes = shapes or SHAPES.get(name, [(2, 4), (3, 4)])
    return resolve_task(model, [[Seen(n, s) for n, s in zip((2, 3), shapes, strict=True)]], data, objective)


@pytest.mark.parametrize(
    ("last", "labels", "objective", "kind"),
    [
        ("plain", CLASSES, Objective.AUTO, Kind.LOGITS),
        ("softmax", CLASSES, Objective.AUTO, Kind.PROBABILITIES),
        ("plain", NUMBERS, Objective.AUTO, Kind.VALUES),
        ("plain", TRUTHS, Objective.AUTO, Kind.BINARY_LOGITS),
        ("sigmoid", TRUTHS, Objective.AUTO, Kind.BINARY_PROBABILITIES),
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
    task = resolved(last, labels, objective)
    assert task.kinds == (kind,)
    assert task.labelled == (labels is not None and objective is not Objective.DISTILL)


ONE_SCORE = "objective: bce (yes or no) or mse (numbers), as the output is one score"
PLACES = np.zeros((3, 5), np.int64)


@pytest.mark.parametrize(
    ("name", "labels", "objective", "expected", "got"),
    [
        ("plain", np.array([0, 4, 1]), Objective.AUTO, "classes 0..4 (exclusive)", "0..4"),
        ("plain", np.array([0, -1, 1]), Objective.AUTO, "classes 0..4 (exclusive)", "-1..1"),
        ("plain", np.array([[0], [1], [2]]), Objective.AUTO, "integer classes [3]", "int64[3, 1]"),
        ("plain", np.zeros(3), Objective.CROSS_ENTROPY, "integer classes [3]", "float64[3]"),
        ("plain", np.zeros((3, 5)), Objective.MSE, "numbers shaped as the output [3, 4]", "float64[3, 5]"),
        ("plain", TRUTHS[:, 0], Objective.AUTO, "numbers shaped as the output [3, 4]", "bool[3]"),
        ("plain", NUMBERS * 3, Objective.BCE, "yes or no as 1 and 0", "3.0..3.0"),
        ("plain", None, Objective.BCE, "labels for objective bce", "nothing"),
        ("one", np.array([0, 1, 0]), Objective.AUTO, ONE_SCORE, "int64[3] read as numbers of classes"),
        ("one", np.zeros((3, 1), int), Objective.AUTO, ONE_SCORE, "int64[3, 1] read as numbers of classes"),
        ("sequence", PLACES[:, :3], Objective.AUTO, "integer classes [3, 5]", "int64[3, 3]"),
        ("convolved", PLACES[:, :3], Objective.AUTO, "integer classes [3, 5]", "int64[3, 3]"),
    ],
)
def test_labels_that_do_not_fit_are_described(
    name: str, labels: np.ndarray | None, objective: Objective, expected: str, got: str
) -> None:
    with pytest.raises(DataMismatch) as caught:
        resolved(name, labels, objective)
    assert caught.value.details() == {"field": "labels", "expected": expected, "got": got}


@pytest.mark.parametrize(
    ("name", "labels", "axes"),
    [
        ("plain", None, Axes(samples=0, features=1)),
        ("convolved", PLACES, Axes(samples=0, features=1)),
        ("sequence", PLACES, Axes(samples=0, features=2)),
        ("biased", PLACES, Axes(samples=0, features=2)),
        ("tokens", PLACES, Axes(samples=0, features=2)),
        ("time_first", None, Axes(samples=1, features=2)),
        ("time_first", PLACES, Axes(samples=1, features=2)),
        ("sequence", None, Axes(samples=0, features=2)),
    ],
)
def test_samples_and_classes_are_found(name: str, labels: np.ndarray | None, axes: Axes) -> None:
    assert resolved(name, labels).axes == (axes,)


@pytest.mark.parametrize(("name", "axis"), [("sequence", 2), ("biased", 2), ("convolved", 1)])
def test_as_many_places_as_classes_are_told_apart_by_what_made_them(name: str, axis: int) -> None:
    task = resolved(name, PLACES[:, :4], shapes=[(2, 4, 4), (3, 4, 4)])
    assert task.axes == (Axes(samples=0, features=axis),)


def test_an_old_softmax_over_several_axes_makes_values() -> None:
    assert resolved("tokens", None, opset=11).kinds == (Kind.VALUES,)
    flat = resolved("tokens", None, opset=11, shapes=[(2, 1, 4), (3, 1, 4)])
    assert (flat.kinds, flat.axes) == ((Kind.PROBABILITIES,), (Axes(samples=0, features=2),))


@pytest.mark.parametrize(
    ("seen", "axes"),
    [
        ([Seen(1, (7, 1, 4))], Axes(samples=1, features=2)),
        ([Seen(4, (7, 4, 9))], Axes(samples=1, features=0)),
        ([Seen(1, (5,))], Axes(samples=None, features=0)),
        ([Seen(2, (2, 6, 3)), Seen(3, (3, 6, 3)), Seen(2, (2, 6, 8))], Axes(samples=0, features=1)),
        ([Seen(2, (10, 4)), Seen(3, (15, 4))], Axes(samples=0, features=1)),
        ([Seen(2, (2,)), Seen(3, (3,))], Axes(samples=0, features=None)),
    ],
    ids=["one_at_a_time", "four_at_a_time", "no_axis", "another_length", "rows", "column"],
)
def test_axes_follow_from_the_shapes(seen: list[Seen], axes: Axes) -> None:
    model = model_of(TEXTS["plain"])
    data = Dataset(inputs={"x": np.zeros((3, 4), np.float32)})
    assert resolve_task(model, [seen], data, Objective.AUTO).axes == (axes,)


SEVERAL = (
    "(float[N,4] x) => (int64[N] c, float m, float[1,4] k, float[N,4] y) <float[4,4] w, float[1,4] a> "
    "{ y = MatMul(x, w)  c = ArgMax <axis = 1, keepdims = 0> (y)  m = ReduceMean <keepdims = 0> (y) "
    " k = Identity(a) }"
)
SEVERAL_SEEN = [
    [Seen(2, (2,)), Seen(3, (3,))],
    [Seen(2, ()), Seen(3, ())],
    [Seen(2, (1, 4)), Seen(3, (1, 4))],
    [Seen(2, (2, 4)), Seen(3, (3, 4))],
]


def test_the_first_output_that_holds_floats_for_each_sample_is_judged() -> None:
    model = model_of(SEVERAL)
    data = Dataset(inputs={"x": np.zeros((3, 4), np.float32)}, labels=CLASSES)
    task = resolve_task(model, SEVERAL_SEEN, data, Objective.AUTO)
    assert task.kinds == (*[Kind.IGNORED] * 3, Kind.LOGITS)
    assert task.first == 3
    only = "(float[N,4] x) => (int64[N] y) { y = ArgMax <axis = 1, keepdims = 0> (x) }"
    model = model_of(only)
    with pytest.raises(UnsupportedModel, match="'y'"):
        resolve_task(model, SEVERAL_SEEN[:1], data, Objective.AUTO)
