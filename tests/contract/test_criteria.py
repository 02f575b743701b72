"""The recipe can only name what exists."""

from __future__ import annotations

from typing import get_type_hints

import pytest

import sosp_core.saliency as families
from sosp_core.config import COUNTED, Method, Metric
from sosp_core.cost.model import terms_of
from sosp_core.data.task import Kind, Task
from sosp_core.saliency.criterion import criteria, criterion
from tests.zoo.graphs import CASES, build

assert families  # importing the package fills the table


def test_every_method_has_a_criterion() -> None:
    assert set(criteria) == set(Method) - {Method.AUTO}


def test_a_criterion_takes_a_scene_and_a_mask_and_gives_prices() -> None:
    for known in criteria.values():
        assert list(get_type_hints(known.price)) == ["scene", "alive", "return"]


def test_what_was_published_is_priced_by_the_loss_it_was_published_with() -> None:
    task = Task(kinds=(Kind.LOGITS,), labelled=True)
    own = {Method.RECOVERY, Method.SOSP_SIGNED}
    assert {method for method, known in criteria.items() if known.task(task) != task} <= own


def test_a_second_criterion_for_a_method_is_refused() -> None:
    with pytest.raises(RuntimeError, match="second criterion"):
        criterion(Method.RANDOM)(criteria[Method.RANDOM].price)


@pytest.mark.parametrize("metric", COUNTED)
def test_every_metric_is_a_sum_of_terms(metric: Metric) -> None:
    assert terms_of(build(CASES["conv_chain"]).structures, metric)
