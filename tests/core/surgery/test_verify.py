"""What is no number equals itself alone, and only where the original has none either."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch

from sosp_core.config import FinetuneConfig
from sosp_core.errors import OutputRejected
from sosp_core.progress import NullProgress
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.session import Array
from sosp_core.stages.recover import train, write
from sosp_core.stages.subject import convert, load
from sosp_core.surgery.verify import require_finite
from tests.core.digits import digits_model, recipe


def array(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        (array(1, 2), array(1, 4), 0.5),
        (array(nan, inf, 2), array(nan, inf, 4), 0.5),
        (array(nan, 2), array(1, 2), inf),
        (array(1, 2), array(nan, 2), inf),
        (array(inf, 2), array(-inf, 2), inf),
        (array(1, 2), array(inf, 2), inf),
        (array(nan, nan), array(nan, nan), 0.0),
        (array(1, 2), array(1, 2, 3), inf),
    ],
)
def test_what_is_no_number_must_be_the_same(got: Array, expected: Array, error: float) -> None:
    assert relative_error(got, expected) == error


@pytest.mark.parametrize("got", [array(nan, 1), array(1, inf), array(nan, 1, 2)])
def test_nothing_may_stop_being_a_number(got: Array) -> None:
    with pytest.raises(OutputRejected, match="'y' is NaN or infinite where the original's is not"):
        require_finite({"y": got}, lambda: {"y": array(1, 2)})


def test_what_was_none_before_may_stay_none() -> None:
    require_finite({"y": array(nan, -inf, 1)}, lambda: {"y": array(nan, nan, 1)})


def test_the_original_is_not_run_for_numbers() -> None:
    def original() -> Mapping[str, Array]:
        raise AssertionError("costs a session")

    require_finite({"y": array(1, 2), "n": np.array([1])}, original)


def test_a_network_of_nan_is_not_written(data: Path) -> None:
    """Network and file agree."""
    subject = convert(load(digits_model(), data, None, recipe()))
    trained = train(subject, subject.model, FinetuneConfig(steps=0), NullProgress(), [torch.device("cpu")])
    with torch.no_grad():
        for weights in trained.network.parameters():
            weights.fill_(nan)
    with pytest.raises(OutputRejected, match="is NaN or infinite"):
        write(subject, trained)
