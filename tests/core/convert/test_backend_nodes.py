"""Every converter against ONNX's own node tests, an oracle none of our code had a part in.

Each test of one node runs twice: its inputs are constants that a converter may read when it
builds, and they are tensors it first sees when it runs.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from single_node import as_numpy, evaluate, operator, python_value

from sosp_core.convert.table import converters
from tests.core.convert.node_tests import KNOWN, TESTS, NodeTest

# Four units in the last place of 16-bit types: attention rounds to them at every stage.
RTOL = {"bfloat16": 2**-6, "float16": 2**-9}


@pytest.mark.parametrize("static", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize(
    "test",
    [pytest.param(t, id=t.name, marks=pytest.mark.xfail(reason=t.reason) if t.reason else ()) for t in TESTS],
)
def test_result_is_that_of_the_onnx_node_test(test: NodeTest, static: bool) -> None:
    op = operator(
        test.node.op_type,
        test.inputs,
        opset=test.opset,
        domain=test.node.domain,
        n_outputs=len(test.node.output),
        static=static,
        **{a.name: python_value(a) for a in test.node.attribute},
    )
    for got, expected in zip(evaluate(op, test.inputs), test.outputs, strict=True):
        if expected is not None:
            assert str(got.dtype).removeprefix("torch.") == expected.dtype.name
            assert tuple(got.shape) == expected.shape
            rtol = max(RTOL.get(expected.dtype.name, 0), test.rtol)
            wanted = expected.astype(np.float32) if expected.dtype.name == "bfloat16" else expected
            np.testing.assert_allclose(as_numpy(got), wanted, rtol=rtol, atol=test.atol)


def test_nearly_all_float_tests_are_expected_to_pass() -> None:
    """The cases marked as failing must fail (strict), so this share is the measured one."""
    tests = [t for t in TESTS if t.is_float]
    passing = [t for t in tests if t.reason is None]
    assert len(tests) > 700
    assert len(passing) / len(tests) >= 0.95


@pytest.mark.parametrize("pattern", KNOWN)
def test_every_exception_still_matches_a_test(pattern: str) -> None:
    assert any(re.fullmatch(pattern, t.name) for t in TESTS)


def test_every_operator_of_the_tables_has_a_node_test_or_is_named_here() -> None:
    """What ONNX has no single-node test for is tested against ONNX Runtime next door."""
    ours = {c.op_type for c in converters.all() if c.domain == ""}
    assert ours - {t.node.op_type for t in TESTS} == {"GlobalLpPool", "SimplifiedLayerNormalization"}
