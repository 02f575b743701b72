"""Feature distillation: which tensors are compared, and what counts as equal."""

from __future__ import annotations

import numpy as np
import torch

from sosp_core.convert.network import Network
from sosp_core.finetune.features import FeatureLoss, shared_features
from sosp_core.surgery.apply import slim
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
    assert features[0].kept == (0, 2, 3, 5)
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
    x = torch.as_tensor(np.random.default_rng(0).standard_normal((2, len(features[0].kept), 3, 3)))
    # Doubling every value is an error of 100 % of the mean square, whatever the scale.
    assert abs(float(FeatureLoss(features, CPU)([2 * x], [x])) - 1.0) < 1e-5
    assert abs(float(FeatureLoss(features, CPU)([2e3 * x], [1e3 * x])) - 1.0) < 1e-5
