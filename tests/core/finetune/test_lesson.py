"""What a batch teaches, and what is left of it when it is divided."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sosp_core.config import FinetuneConfig
from sosp_core.finetune.lesson import Lesson, LessonLoss
from tests.core.digits import digits
from tests.core.finetune.test_loop import CLASSES, network

X, Y = (torch.as_tensor(a[:7]) for a in digits())


def test_the_loss_of_mixed_labels_is_that_of_soft_ones() -> None:
    student, others, share = network(noise=0.3), Y.flip(0), torch.tensor(0.3)
    loss = LessonLoss(student, network(), CLASSES, FinetuneConfig(distill=0.0), None, mixed=False)
    soft = share * F.one_hot(Y, 10) + (1 - share) * F.one_hot(others, 10)
    with torch.no_grad():
        (scores,) = student(X)
        got = loss(Lesson(inputs=(X,), labels=Y, others=others, share=share))
    assert float(got) == pytest.approx(float(F.cross_entropy(scores, soft)), rel=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_hold_every_sample_once_and_the_share_each(parts: int) -> None:
    whole = Lesson(inputs=(X, 2 * X), labels=Y, others=Y.flip(0), share=torch.tensor(0.3))
    found = [whole.part(number, parts) for number in range(parts)]
    assert sum(len(part) for part in found) == len(whole)
    assert max(len(part) for part in found) - min(len(part) for part in found) <= 1
    for number, tensor in enumerate(whole.tensors()[:-1]):
        assert torch.equal(torch.cat([part.tensors()[number] for part in found]), tensor)
    assert all(part.share is whole.share for part in found)


def test_a_lesson_without_labels_holds_inputs_alone() -> None:
    lesson = Lesson(inputs=(X,))
    assert len(lesson.tensors()) == 1
    again = lesson.holding([2 * X])
    assert torch.equal(again.inputs[0], 2 * X)
    assert again.labels is None
