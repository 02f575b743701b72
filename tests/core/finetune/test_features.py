"""Feature distillation: which tensors are compared, and what counts as equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sosp_core.config import FinetuneConfig, Objective
from sosp_core.convert.network import Network
from sosp_core.data.axes import Seen
from sosp_core.data.dataset import Dataset
from sosp_core.data.resolve import resolve_task
from sosp_core.finetune.features import FeatureLoss, shared_features
from sosp_core.finetune.loop import Trainer
from sosp_core.ir.interface import interface
from sosp_core.progress import NullProgress
from sosp_core.stages.subject import forward
from sosp_core.surgery.apply import slim
from tests.zoo.built import random_feeds, random_mask
from tests.zoo.graphs import CASES, build

CPU = torch.device("cpu")


def test_features_are_the_gated_tensors_at_the_kept_channels() -> None:
    built = build(CASES["conv_chain"])
    alive = built.structures.all_alive()
    alive[[1, 4]] = False
    student = Network(slim(built.model, built.structures, alive))
    teacher = Network(built.model)
    features = shared_features(built.structures, alive, student, teacher)
    assert [f.name for f in features] == list(dict.fromkeys(g.value for g in built.structures.gates))
    assert features[0].kept == {1: (0, 2, 3, 5)}
    inputs = [torch.as_tensor(built.feeds[n]) for n in teacher.input_names]
    names = [f.name for f in features]
    with torch.no_grad():
        theirs, ours = teacher.tensors(inputs, names), student.tensors(inputs, names)
    # The first tensor precedes every cut: the student has exactly the teacher's kept channels.
    assert float(FeatureLoss(features[:1], CPU)(ours[:1], theirs[:1])) < 1e-10
    assert float(FeatureLoss(features, CPU)(ours, theirs)) > 1e-6


def test_the_loss_is_relative_to_the_original() -> None:
    built = build(CASES["conv_chain"])
    teacher = Network(built.model)
    features = shared_features(built.structures, built.structures.all_alive(), teacher)[:1]
    x = torch.as_tensor(np.random.default_rng(0).standard_normal((2, len(features[0].kept[1]), 3, 3)))
    # Doubling every value is an error of 100 % of the mean square, whatever the scale.
    assert abs(float(FeatureLoss(features, CPU)([2 * x], [x])) - 1.0) < 1e-5
    assert abs(float(FeatureLoss(features, CPU)([2e3 * x], [1e3 * x])) - 1.0) < 1e-5


@pytest.mark.filterwarnings("error")  # as one does of tensors of two sizes that are compared
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.structures])
def test_every_network_can_be_taught_by_its_inner_tensors(name: str) -> None:
    built = build(CASES[name])
    alive = random_mask(built.structures, seed=0)
    student, teacher = Network(slim(built.model, built.structures, alive)), Network(built.model)
    features = shared_features(built.structures, alive, student, teacher)
    ports = interface(built.model)
    data = Dataset(inputs=random_feeds(ports.inputs, 2 * (ports.batch or 4), seed=0))
    part = data.take(np.arange(ports.batch or 4))
    seen = [(Seen(len(part), tuple(y.shape)),) for y in forward(built.model, ports)(part)]
    history = Trainer(
        *(student, teacher, data, resolve_task(built.model, seen, data, Objective.AUTO)),
        FinetuneConfig(steps=1, batch_size=4, holdout=0.5),
        seed=0,
        device=CPU,
        progress=NullProgress(),
        fixed_batch=ports.batch,
        features=features,
    ).run()
    assert (history.steps, history.restarts) == (1, 0)


def test_a_tensor_cut_along_two_axes_is_compared_at_what_is_left_of_both() -> None:
    built = build(CASES["token_mixing"])
    alive = random_mask(built.structures, seed=0)
    student, teacher = Network(slim(built.model, built.structures, alive)), Network(built.model)
    features = shared_features(built.structures, alive, student, teacher)
    (feature, *_) = (f for f in features if len(f.kept) == 2)
    with torch.no_grad():
        (x,) = teacher.tensors([torch.as_tensor(built.feeds[n]) for n in teacher.input_names], [feature.name])
    kept = x[np.ix_(*(feature.kept.get(axis, range(n)) for axis, n in enumerate(x.shape)))]
    assert kept.numel() < x.numel()
    assert float(FeatureLoss([feature], CPU)([kept], [x])) == 0
    assert float(FeatureLoss([feature], CPU)([kept + 1], [x])) > 0
