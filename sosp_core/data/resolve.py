"""Find out what the outputs mean: from the recipe, the labels, the last operators and the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import onnx_ir as ir

from sosp_core.config import Objective
from sosp_core.data.axes import Axes, Seen, Shape, feature_axis, sample_axis
from sosp_core.data.dataset import Array, Dataset
from sosp_core.data.task import CLASSES, Kind, Task
from sosp_core.errors import DataMismatch, UnsupportedModel
from sosp_core.ir.view import attribute, constant, is_float, opset

#: What may stand between the product that makes scores of classes and the output.
PASSED = frozenset({"Add", "Cast", "Identity"})
YES_OR_NO = frozenset({Kind.BINARY_LOGITS, Kind.BINARY_PROBABILITIES})


def resolve_task(
    model: ir.Model, seen: Sequence[Sequence[Seen]], data: Dataset, objective: Objective
) -> Task:
    """Decide what the outputs mean, and where their samples, classes and features are.

    ``auto``: integer labels make the first output class scores, true and false yes/no scores; a
    final Softmax or Sigmoid makes its output probabilities; everything else is values. Without labels
    unnormalised scores cannot be told from a regression, so they count as values: right for both.
    Outputs that are not floats, or not of samples, are ignored.

    Args:
        model: The original.
        seen: The shapes of each output, on these data first: for two numbers of samples if the graph
            does not fix one.
        data: Whose labels are meant.
        objective: Of the recipe.

    Raises:
        DataMismatch: The objective needs labels that are missing or do not fit.
        UnsupportedModel: No output can be judged.
    """
    labels = data.labels if objective is not Objective.DISTILL else None
    if labels is None and objective in (Objective.CROSS_ENTROPY, Objective.BCE, Objective.MSE):
        raise DataMismatch(field="labels", expected=f"labels for objective {objective}", got="nothing")
    outputs = model.graph.outputs
    read = [_unlabelled(v, shapes, opset(model)) for v, shapes in zip(outputs, seen, strict=True)]
    first = next((i for i, (kind, _) in enumerate(read) if kind is not Kind.IGNORED), None)
    if first is None:
        names = ", ".join(repr(value.name) for value in outputs)
        raise UnsupportedModel(reason=f"no output holds floats for each sample: {names}")
    if labels is not None:
        read[first] = _labelled(outputs[first], seen[first][0], read[first], labels, objective)
        _check_labels(*read[first], seen[first][0], labels)
    kinds, axes = zip(*read, strict=True)
    return Task(kinds=kinds, labelled=labels is not None, axes=axes)


def _unlabelled(value: ir.Value, seen: Sequence[Seen], version: int) -> tuple[Kind, Axes]:
    at, node = sample_axis(seen), value.producer()
    grows = at is not None or all(s.samples == seen[0].samples for s in seen)
    if not is_float(value) or not seen[0].shape or not grows:
        return Kind.IGNORED, Axes()
    op = "" if node is None else node.op_type
    if node is not None and op == "Softmax":
        over = _normalised(node, seen[0].shape, version)
        if over is not None and over != at:
            return Kind.PROBABILITIES, Axes(samples=at, features=over)
    kind = Kind.BINARY_PROBABILITIES if op == "Sigmoid" else Kind.VALUES
    return kind, Axes(samples=at, features=feature_axis(seen, at))


def _normalised(node: ir.Node, shape: Shape, version: int) -> int | None:
    """The axis of a Softmax; before opset 13 it may run over several as one, and then there is none."""
    axis = attribute(node, "axis", -1 if version >= 13 else 1)
    over = range(axis % len(shape), len(shape)) if axis < len(shape) else range(0)
    if version >= 13:
        return over[0]
    wide = [a for a in over if shape[a] > 1] or list(over[:1])
    return wide[0] if len(wide) == 1 else None


def _labelled(
    value: ir.Value, seen: Seen, unlabelled: tuple[Kind, Axes], labels: Array, objective: Objective
) -> tuple[Kind, Axes]:
    kind, axes = unlabelled
    auto, numbers = objective is Objective.AUTO, labels.dtype.kind
    if objective is Objective.BCE or (auto and numbers == "b"):
        return kind if kind is Kind.BINARY_PROBABILITIES else Kind.BINARY_LOGITS, axes
    if objective is Objective.CROSS_ENTROPY or (auto and numbers in "iu" and axes.inner(seen.shape)):
        if kind is Kind.PROBABILITIES:
            return kind, axes
        return Kind.LOGITS, replace(axes, features=_class_axis(value, seen, axes, labels))
    return (Kind.VALUES if objective is Objective.MSE else kind), axes


def _class_axis(value: ir.Value, seen: Seen, axes: Axes, labels: Array) -> int | None:
    """The end of a sample's shape that labels leave out; of both, that where a product has its results."""
    inner = [a for a in range(len(seen.shape)) if a != axes.samples]
    ends = [*inner[-1:], *inner[:1]] if _is_product(value) else [*inner[:1], *inner[-1:]]
    fits = (a for a in ends if _places(seen, replace(axes, features=a)) == labels.shape[1:])
    return next(fits, next(iter(ends), None))


def _is_product(value: ir.Value) -> bool:
    """Whether a product with a matrix makes it, whose results are along the last axis."""
    node = value.producer()
    while node is not None and node.op_type in PASSED:
        value = next((v for v in node.inputs if v is not None and constant(v) is None), value)
        node = value.producer()
    return node is not None and node.op_type in ("MatMul", "Gemm")


def _places(seen: Seen, axes: Axes) -> Shape:
    """Within a sample, the shape of what has a class each."""
    return tuple(size for a, size in enumerate(seen.shape) if a not in (axes.samples, axes.features))


def _check_labels(kind: Kind, axes: Axes, seen: Seen, labels: Array) -> None:
    got = f"{labels.dtype}{list(labels.shape)}"
    if axes.samples is not None and seen.shape[axes.samples] != seen.samples:
        expected = f"none, as the output is {list(seen.shape)} for {seen.samples} samples"
        raise DataMismatch(field="labels", expected=expected, got=got)
    if kind in CLASSES:
        _check_classes(axes, seen, labels, got)
        return
    inner = axes.inner(seen.shape)
    if labels.dtype.kind not in "iufb" or prod(inner) != prod(labels.shape[1:]):
        expected = f"numbers shaped as the output {[len(labels), *inner]}"
        raise DataMismatch(field="labels", expected=expected, got=got)
    low, high = labels.min(), labels.max()
    if kind in YES_OR_NO and not 0 <= low <= high <= 1:
        raise DataMismatch(field="labels", expected="yes or no as 1 and 0", got=f"{low}..{high}")


def _check_classes(axes: Axes, seen: Seen, labels: Array, got: str) -> None:
    places = _places(seen, axes)
    classes = 0 if axes.features is None else seen.shape[axes.features]
    if classes < 2:
        expected = "objective: bce (yes or no) or mse (numbers), as the output is one score"
        raise DataMismatch(field="labels", expected=expected, got=f"{got} read as numbers of classes")
    if labels.dtype.kind not in "iu" or labels.shape[1:] != places:
        expected = f"integer classes {[len(labels), *places]}"
        raise DataMismatch(field="labels", expected=expected, got=got)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        expected = f"classes 0..{classes} (exclusive)"
        raise DataMismatch(field="labels", expected=expected, got=f"{low}..{high}")
