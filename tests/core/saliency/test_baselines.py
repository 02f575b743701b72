from __future__ import annotations

import numpy as np
import pytest

from sosp_core.errors import RecipeInvalid
from sosp_core.saliency.baselines import bn_scale, magnitude, magnitude_l1, random
from sosp_core.saliency.weights import weight_sums
from tests.core.saliency.scenes import scene
from tests.zoo.graphs import CASES, build


def weights(name: str) -> dict[str, np.ndarray]:
    graph = build(CASES[name]).model.graph
    return {k: v.const_value.numpy().astype(float) for k, v in graph.initializers.items() if v.const_value}


def test_magnitude_is_the_norm_of_all_that_falls_per_root_of_its_number() -> None:
    built, w = build(CASES["conv_chain"]), weights("conv_chain")
    scores = magnitude(scene(built), built.structures.all_alive()).scores
    channel = 2  # of the first convolution: its filter, four numbers of normalisation, its readers
    falls = [w["w1"][channel], w["w2"][:, channel]] + [w[n][channel] for n in ("g1", "b1", "m1", "var1")]
    values = np.concatenate([np.ravel(v) for v in falls])
    assert len(values) == 27 + 45 + 4
    np.testing.assert_allclose(scores[channel], np.sqrt((values**2).sum() / len(values)), rtol=1e-12)
    unit = 3  # of the second
    values = np.concatenate([np.ravel(v) for v in (w["w2"][unit], w["b2"][unit], w["w3"][:, unit])])
    np.testing.assert_allclose(scores[6 + unit], np.sqrt((values**2).sum() / len(values)), rtol=1e-12)


def test_magnitude_counts_every_index_of_a_structure() -> None:
    built, w = build(CASES["depthwise_multiplier"]), weights("depthwise_multiplier")
    scores = magnitude(scene(built), built.structures.all_alive()).scores
    falls = (w["w0"][1], w["wd"][2:4], w["bd"][2:4], w["w1"][:, 2:4])
    values = np.concatenate([np.ravel(v) for v in falls])
    np.testing.assert_allclose(scores[1], np.sqrt((values**2).sum() / len(values)), rtol=1e-12)


def test_chance_comes_from_the_seed() -> None:
    built = build(CASES["conv_chain"])
    first, again, other = (
        random(scene(built, seed=s), built.structures.all_alive()).scores for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == built.structures.count


def test_the_mean_size_counts_the_same_weights() -> None:
    built, w = build(CASES["conv_chain"]), weights("conv_chain")
    scores = magnitude_l1(scene(built), built.structures.all_alive()).scores
    unit = 3  # of the second convolution
    values = np.concatenate([np.ravel(v) for v in (w["w2"][unit], w["b2"][unit], w["w3"][:, unit])])
    np.testing.assert_allclose(scores[6 + unit], np.abs(values).mean(), rtol=1e-12)


def test_scales_of_normalisation_rank_and_what_has_none_is_dearest() -> None:
    built, w = build(CASES["conv_chain"]), weights("conv_chain")
    scores = bn_scale(scene(built), built.structures.all_alive()).scores
    np.testing.assert_allclose(scores[:6], np.abs(w["g1"]), rtol=1e-12)
    assert (scores[6:] > scores[:6].max()).all()


def test_scales_of_normalisation_are_refused_where_there_are_none() -> None:
    built = build(CASES["depthwise_multiplier"])
    with pytest.raises(RecipeInvalid, match="BatchNormalization"):
        bn_scale(scene(built), built.structures.all_alive())


@pytest.mark.parametrize("at_once", [1, 7, 40, 10**9])
def test_weights_are_measured_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sosp_core.saliency.weights.AT_ONCE", at_once)
    built, w = build(CASES["conv_chain"]), weights("conv_chain")
    sums, numbers = weight_sums(scene(built), np.square, lambda name, axes, axis: axes > 1)
    made, read = np.square(w["w2"]).sum(axis=(1, 2, 3)), np.square(w["w3"]).sum(axis=0)
    np.testing.assert_allclose(sums[6:11], made + np.ravel(read), rtol=1e-12)
    assert numbers[6:11].tolist() == [w["w2"][0].size + w["w3"][:, 0].size] * 5
