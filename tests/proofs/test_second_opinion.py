"""Slim files in the hands of others: onnxslim rewrites them, OpenVINO runs them. ``make proof``."""

from __future__ import annotations

from math import inf

import numpy as np
import onnx
import pytest

from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.session import Array, open_session, run, serialize
from sosp_core.surgery.apply import slim
from tests.zoo.built import Built, random_mask
from tests.zoo.everything import Case, build, each_case

onnxslim = pytest.importorskip("onnxslim")
openvino = pytest.importorskip("openvino")

pytestmark = pytest.mark.slow

#: Another runtime sums in another order and fuses what it likes. Seen 2e-6.
TOLERANCE = 1e-3


def slimmed(built: Built) -> tuple[bytes, dict[str, Array]]:
    content = serialize(slim(built.model, built.structures, random_mask(built.structures, seed=5)))
    return content, run(open_session(content, optimise=False), built.feeds)


@each_case
def test_onnxslim_keeps_what_the_file_computes(case: Case) -> None:
    built = build(case)
    content, expected = slimmed(built)
    again = onnxslim.slim(onnx.load_from_string(content)).SerializeToString()
    got = run(open_session(again, optimise=False), built.feeds)
    for name, y in expected.items():
        assert relative_error(got[name], y) <= TOLERANCE, name


def openvino_error(content: bytes, feeds: dict[str, Array], expected: dict[str, Array]) -> float:
    """The largest relative error of OpenVINO's outputs; infinite where it does not take the file."""
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError:  # it has no other class for operators that it does not know
        return inf
    results = compiled(dict(feeds))
    return max(relative_error(np.asarray(results[n]).reshape(y.shape), y) for n, y in expected.items())


@each_case
def test_openvino_computes_the_same(case: Case) -> None:
    built = build(case)
    content, expected = slimmed(built)
    if openvino_error(content, built.feeds, expected) <= TOLERANCE:
        return
    original = serialize(built.model)
    before = run(open_session(original, optimise=False), built.feeds)
    assert openvino_error(original, built.feeds, before) > TOLERANCE, "only the slim file differs"
    pytest.skip("OpenVINO does not take the original, or computes something else from it, too")
