"""ONNX's own tests of single nodes, as far as our converters claim their operators."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

import sosp_core.convert as families
from sosp_core.convert.operands import DTYPES
from sosp_core.convert.table import converters

assert families  # importing the package fills the table

# By pattern of the test's name, why torch gives another answer or none. Every test that a pattern
# matches must fail, so that no reason outlives its cause.
KNOWN = {
    r"test_(add|sub|div|mod|max|min|less|less_equal|greater|greater_equal)_uint(16|32|64)": (
        "torch has no arithmetic in these types"
    ),
    r"test_bitshift_(left|right)_uint(16|32|64)|test_bitwise_not_3d": (
        "torch has no operations on bits of these types"
    ),
    r"test_training_dropout(_default)?(_mask)?": "random, with another generator",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners": (
        "the reference aligns with in · scale before it is rounded, ONNX Runtime with the result's size"
    ),
}


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


def collect() -> list[NodeTest]:
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


TESTS = collect()
