"""Every converter against ONNX's own node tests, an oracle none of our code had a part in.

Each test of one node runs twice: its inputs are constants that a converter may read when it
builds, and they are tensors it first sees when it runs.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import NodeProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from single_node import as_numpy, evaluate, operator, python_value

from sosp_core.convert.operands import DTYPES
from sosp_core.convert.table import converters

# By pattern of the test's name, why torch gives another answer or none. Every test that a pattern
# matches must fail, so that no reason outlives its cause.
KNOWN = {
    r"test_(add|sub|div|mod|max|min|less|less_equal|greater|greater_equal)_uint(16|32|64)": (
        "torch has no arithmetic in these types"
    ),
    r"test_bitshift_(left|right)_uint(16|32|64)|test_bitwise_not_3d": "nor operations on their bits",
    r"test_training_dropout(_default)?(_mask)?": "random, with another generator",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners": (
        "the reference aligns with in · scale before it is rounded, ONNX Runtime with the result's size"
    ),
}

# Four units in the last place of 16-bit types: attention rounds to them at every stage.
RTOL = {"bfloat16": 2**-6, "float16": 2**-9}


@dataclass(frozen=True)
class NodeTest:
    name: str
    node: NodeProto
    opset: int
    inputs: tuple[np.ndarray | None, ...]
    outputs: tuple[np.ndarray | None, ...]
    rtol: float
    atol: float

    @property
    def is_float(self) -> bool:
        arrays = [a for a in (*self.inputs, *self.outputs) if a is not None]
        return any(a.dtype.kind == "f" or a.dtype.name == "bfloat16" for a in arrays)

    @property
    def reason(self) -> str | None:
        return next((why for pattern, why in KNOWN.items() if re.fullmatch(pattern, self.name)), None)


def _array(value: object) -> np.ndarray | None:
    """The value as an array of a type that torch has, else None."""
    if isinstance(value, onnx.TensorProto):
        if value.data_type not in DTYPES:
            return None
        return numpy_helper.to_array(value)
    if not isinstance(value, np.ndarray | np.generic):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "fiub" or array.dtype.name == "bfloat16" else None


def _collect() -> list[NodeTest]:
    """The tests of one node whose operator is in our table and whose types torch has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, while ONNX computes the expected values
        cases = load_model_tests(kind="node")
    found = []
    for case in cases:
        nodes = case.model.graph.node if case.model else []
        if len(nodes) != 1:
            continue
        node, opsets = nodes[0], {o.domain: o.version for o in case.model.opset_import}
        if converters.find(node.domain, node.op_type, opsets.get(node.domain, 1)) is None:
            continue
        for inputs, outputs in case.data_sets:
            given = [_array(v) for v in (*inputs, *outputs)]
            if any(a is None for a in given) or not _types_known(node):
                continue
            by_name = dict(zip([v.name for v in case.model.graph.input], given, strict=False))
            results = dict(zip([v.name for v in case.model.graph.output], given[len(inputs) :], strict=True))
            found.append(
                NodeTest(
                    name=case.name,
                    node=node,
                    opset=opsets[node.domain],
                    inputs=tuple(by_name.get(name) for name in node.input),
                    outputs=tuple(results.get(name) for name in node.output),
                    rtol=case.rtol,
                    atol=case.atol,
                )
            )
    return found


def _types_known(node: NodeProto) -> bool:
    return all(a.i in DTYPES for a in node.attribute if node.op_type == "Cast" and a.name == "to")


TESTS = _collect()


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
