from __future__ import annotations

import numpy as np
import pytest
import torch

from sosp_core.data.task import Kind, Task
from sosp_core.errors import RecipeInvalid
from sosp_core.finetune.augment import augment, choose, keeps_labels, suited

IMAGES = torch.arange(4 * 3 * 16 * 24, dtype=torch.float32).reshape(4, 3, 16, 24) + 1


@pytest.mark.parametrize("names", [(), ("flip",), ("shift",), ("flip", "shift")])
def test_views_keep_shape_and_depend_on_the_seed_only(names: tuple[str, ...]) -> None:
    one, again, other = (
        augment(IMAGES, frozenset(names), torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert one.shape == IMAGES.shape
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (not names)


def test_a_flip_mirrors_whole_images_and_only_some() -> None:
    many = IMAGES[:1].expand(64, -1, -1, -1)
    views = augment(many, frozenset({"flip"}), torch.Generator().manual_seed(0))
    mirrored = [torch.equal(v, IMAGES[0].flip(2)) for v in views]
    kept = [torch.equal(v, IMAGES[0]) for v in views]
    assert all(m or k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_shift_moves_by_up_to_an_eighth_and_brings_in_zeros() -> None:
    many = IMAGES[:1].expand(64, -1, -1, -1)
    views = augment(many, frozenset({"shift"}), torch.Generator().manual_seed(0))
    seen = set()
    for view in views:
        rows, columns = (view[0] != 0).any(1).sum(), (view[0] != 0).any(0).sum()
        seen.add((int(rows), int(columns)))
        assert rows >= 14
        assert columns >= 21
        assert set(view[view != 0].tolist()) <= set(IMAGES[0].flatten().tolist())
    assert len(seen) > 4


@pytest.mark.parametrize(
    ("asked", "shape", "chosen"),
    [
        (None, (9, 3, 32, 32), {"flip", "shift", "mixup", "cutmix"}),
        (None, (9, 1, 8, 8), {"shift", "mixup", "cutmix"}),
        (None, (9, 3, 7, 32), set()),
        (None, (9, 10), set()),
        (frozenset({"flip"}), (9, 1, 8, 8), {"flip"}),
        (frozenset({"flip"}), (9, 64, 8, 8), set()),
        (frozenset(), (9, 3, 32, 32), set()),
    ],
)
def test_what_suits_the_data(asked: frozenset[str] | None, shape: tuple[int, ...], chosen: set[str]) -> None:
    assert choose(asked, shape) == chosen


def test_what_cannot_be_mixed_is_not() -> None:
    assert choose(frozenset({"flip", "mixup"}), (9, 3, 32, 32), mixable=False) == {"flip"}


@pytest.mark.parametrize("kind", ["bool", "float16", "float64", "int8", "uint16", "uint32", "uint64"])
def test_numbers_of_any_kind_can_be_moved(kind: str) -> None:
    names = frozenset({"flip", "shift"})
    numbers = IMAGES % 120
    expected = augment(numbers, names, torch.Generator().manual_seed(3)).numpy().astype(kind)
    given = torch.as_tensor(numbers.numpy().astype(kind))
    moved = augment(given, names, torch.Generator().manual_seed(3))
    assert moved.dtype == given.dtype
    np.testing.assert_array_equal(moved.numpy(), expected)


def images(*shape: int) -> np.ndarray:
    return np.zeros((2, *shape), np.float32)


@pytest.mark.parametrize("second", [(3, 16, 16), (1, 8, 8), (64, 2, 2)])
def test_one_of_several_images_is_not_changed_alone(second: tuple[int, ...]) -> None:
    inputs = {"left": images(3, 16, 16), "right": images(*second)}
    assert suited("finetune.augment", None, inputs) == frozenset()
    assert suited("finetune.augment", frozenset(), inputs) == frozenset()
    with pytest.raises(RecipeInvalid, match="several inputs are images") as caught:
        suited("finetune.augment", frozenset({"flip"}), inputs)
    assert caught.value.field == "finetune.augment"


@pytest.mark.parametrize("second", [(5,), (7, 9), (4, 1, 1)])
def test_an_image_beside_other_inputs_is_changed_but_not_mixed(second: tuple[int, ...]) -> None:
    inputs = {"image": images(3, 16, 16), "other": images(*second)}
    assert suited("finetune.augment", None, inputs) == {"flip", "shift"}
    assert suited("finetune.augment", frozenset({"shift", "mixup"}), inputs) == {"shift"}


@pytest.mark.parametrize(
    ("kind", "shape", "kept"),
    [
        (Kind.LOGITS, (2,), True),
        (Kind.PROBABILITIES, (2,), True),
        (Kind.LOGITS, (2, 16, 16), False),
        (Kind.BINARY_LOGITS, (2,), True),
        (Kind.BINARY_PROBABILITIES, (2, 5), True),
        (Kind.BINARY_LOGITS, (2, 1, 16, 16), False),
        (Kind.VALUES, (2, 4), False),
    ],
)
def test_labels_of_a_whole_sample_are_those_of_its_views(
    kind: Kind, shape: tuple[int, ...], kept: bool
) -> None:
    labels = np.zeros(shape, np.int64)
    assert keeps_labels(Task(kinds=(kind,), labelled=True), labels) == kept
    assert keeps_labels(Task(kinds=(kind,), labelled=False), labels)
