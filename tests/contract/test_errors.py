"""Promises that hold for every error of the core."""

from __future__ import annotations

import pickle
import re
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import sosp_core.errors
from sosp_core.errors import SospError, every_error

OURS = [kind for kind in every_error() if kind.__module__.startswith(f"{sosp_core.errors.__name__}.")]
#: A class that others refine is a heading; only the leaves are raised.
LEAVES = [kind for kind in OURS if not any(issubclass(other, kind) and other is not kind for other in OURS)]

VALUES: dict[Any, Any] = {
    str: "some text",
    int: 1234567,
    float: 2.5e-3,
    list[str]: ["conv1 (Conv)", "fc (Gemm)"],
    str | None: "conv1",
}


def example(kind: type[SospError]) -> SospError:
    hints = get_type_hints(kind)
    return kind(**{f.name: VALUES[hints[f.name]] for f in fields(kind)})


def test_codes_are_unique_and_each_leaf_has_its_own() -> None:
    assert all("code" in vars(kind) for kind in LEAVES)
    codes = [kind.code for kind in LEAVES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_with_its_fields(kind: type[SospError]) -> None:
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.details() == error.details()
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_an_error_reads_as_one_line_and_says_what_it_carries(kind: type[SospError]) -> None:
    text = str(example(kind))
    assert len(text.splitlines()) == 1
    assert not [name for name in ("{", "}", "None") if name in text]
    carried = {str: "some text", list[str]: "conv1 (Conv)", str | None: "conv1"}
    hints = get_type_hints(kind)
    for field in fields(kind):
        assert carried.get(hints[field.name], "") in text, f"{field.name} is not told"


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_details_are_the_fields(kind: type[SospError]) -> None:
    assert set(example(kind).details()) == {f.name for f in fields(kind)}


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)", sosp_core.errors.__doc__ or "")
    headings = {"Diverged"}  # shares the fields of three leaves; not worth a line in the drawing
    assert drawn == [kind.__name__ for kind in OURS[1:] if kind.__name__ not in headings]


def test_only_the_machine_is_worth_a_retry() -> None:
    assert {kind.__name__ for kind in LEAVES if kind.retryable} == {
        "OutOfMemory",
        "DeviceAbsent",
        "DeviceLost",
    }
