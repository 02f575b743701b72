from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from sosp_core.config import FinetuneConfig, Method, Mode, PruneConfig, Recipe
from sosp_core.saliency.diagonals import obd
from sosp_core.saliency.recovery import POWER, recovery, relative_sizes
from sosp_core.structures.structures import Alive
from tests.core.saliency.scenes import CLASSES, mask_space, samples, scene, without
from tests.core.saliency.test_baselines import weights
from tests.oracles.dense import NETS, Net
from tests.zoo.built import Built
from tests.zoo.graphs import CASES, build

#: Of structures 6 to 10 of this network: a filter makes each of them, and one layer reads them.
SECOND = slice(6, 11)


def sizes(built: Built, alive: Alive | None = None) -> np.ndarray:
    return relative_sizes(scene(built), built.structures.all_alive() if alive is None else alive)


def rms(array: np.ndarray) -> np.ndarray:
    return np.sqrt((array.reshape(len(array), -1) ** 2).mean(axis=1))


def test_sizes_are_the_geometric_mean_of_what_makes_a_structure_and_what_reads_it() -> None:
    built, w = build(CASES["conv_chain"]), weights("conv_chain")
    made, read = rms(w["w2"]), rms(np.moveaxis(w["w3"], 1, 0))
    expected = np.sqrt(made / made.mean() * read / read.mean())
    np.testing.assert_allclose(sizes(built)[SECOND], expected, rtol=1e-12)


def test_a_factor_that_is_undone_behind_it_does_not_count() -> None:
    built, before = build(CASES["conv_chain"]), sizes(build(CASES["conv_chain"]))
    scales = np.array([0.01, 0.5, 1, 3, 100])
    for name, factors in (("w2", scales[:, None, None, None]), ("w3", 1 / scales[None, :, None, None])):
        array = weights("conv_chain")[name] * factors
        built.model.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    after = sizes(built)
    # Each side is measured by its own mean, which moves for all of a group alike.
    np.testing.assert_allclose(
        after[SECOND] / after[SECOND].mean(), before[SECOND] / before[SECOND].mean(), rtol=1e-5
    )


def test_sizes_are_relative_to_what_is_still_there() -> None:
    built = build(CASES["conv_chain"])
    alive, before = built.structures.all_alive(), sizes(built)
    alive[6] = False
    after = sizes(built, alive)
    ratio = after[7:11] / before[7:11]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    assert ratio[0] != pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("name", [name for name, graph in CASES.items() if graph.groups])
def test_sizes_are_positive_numbers_on_any_network(name: str) -> None:
    built = build(CASES[name])
    found = sizes(built)
    assert found.shape == (built.structures.count,)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found > 0).mean() > 0.5


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.name)
def test_a_price_is_the_curvature_by_a_power_of_the_size(net: Net) -> None:
    built, alive = net.build(), without(net, 1)
    data = samples(built, CLASSES)
    given = scene(built, mask_space(built, data, CLASSES))
    expected = obd(given, alive).scores * sizes(built, alive) ** POWER
    np.testing.assert_allclose(recovery(given, alive).scores[alive], expected[alive], rtol=1e-6)


def test_the_method_follows_from_whether_training_does() -> None:
    untrained = FinetuneConfig(steps=0)
    assert Recipe().method is Method.RECOVERY
    assert Recipe(finetune=untrained).method is Method.SOSP_SIGNED
    assert Recipe(finetune=FinetuneConfig(epochs=0.0)).method is Method.SOSP_SIGNED
    assert Recipe(finetune=FinetuneConfig(epochs=0.0, steps=3)).method is Method.RECOVERY
    assert Recipe(mode=Mode.BOTTLENECKS).method is Method.SOSP_SIGNED
    assert Recipe(prune=PruneConfig(method=Method.TAYLOR), finetune=untrained).method is Method.TAYLOR
