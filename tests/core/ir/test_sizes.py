"""Sizes computed from known shapes become numbers, and the model stays the same function."""

from __future__ import annotations

import numpy as np
import pytest

from sosp_core.inspection import inspect
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.session import open_session, run
from tests.zoo.graphs import as_model

SHUFFLE = """(float[N,3,4,4] x) => (float[N,2,4,4] y) <float[6,3,1,1] w, float[2,6,1,1] v,
 int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3}, int64[1] first = {0}>
{ p = Conv(x, w)  s = Shape(p)  n = Gather(s, zero)  c = Gather(s, one)  h = Gather(s, two)
  k = Gather(s, three)  half = Div(c, two)  n1 = Unsqueeze(n, first)  c1 = Unsqueeze(c, first)
  h1 = Unsqueeze(h, first)  k1 = Unsqueeze(k, first)  g1 = Unsqueeze(half, first)
  two1 = Unsqueeze(two, first)
  split = Concat<axis=0>(n1, two1, g1, h1, k1)  joined = Concat<axis=0>(n1, c1, h1, k1)
  a = Reshape(p, split)  t = Transpose<perm=[0,2,1,3,4]>(a)  b = Reshape(t, joined)
  r = Relu(b)  y = Conv(r, v) }"""
INTERPOLATE = """(float[N,3,8,8] x) => (float[N,2,8,8] y) <float[6,3,1,1] w, float[2,6,1,1] v,
 int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, int64[1] axis = {0}>
{ c = Conv<strides=[2,2]>(x, w)  s = Shape(c)  kept = Slice(s, zero, two, axis)  f = Shape(x)
  size = Slice(f, two, four, axis)  sizes = Concat<axis=0>(kept, size)
  u = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(c, , , sizes)
  r = Relu(u)  y = Conv(r, v) }"""
FREE = """(float[N,3,H,8] x) => (float[N,2,M] y, int64 n) <float[4,3,1,1] w, float[2,4,1,1] v,
 int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] rest = {-1}>
{ p = Conv(x, w)  r = Relu(p)  q = Conv(r, v)  s = Shape(q)  n = Gather(s, zero)  c = Gather(s, one)
  n1 = Unsqueeze(n, first)  c1 = Unsqueeze(c, first)  to = Concat<axis=0>(n1, c1, rest)
  y = Reshape(q, to) }"""


@pytest.mark.parametrize("text", [SHUFFLE, INTERPOLATE, FREE], ids=["shuffle", "interpolate", "free"])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_function_stays_at_every_batch_size(text: str, batch: int) -> None:
    content = as_model(text, 17).SerializeToString()
    size = 4 if text == SHUFFLE else 8
    feeds = {"x": np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)}
    expected = run(open_session(content, optimise=False), feeds)
    got = run(open_session(normalize(load_model(content)), optimise=False), feeds)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize(("text", "groups"), [(SHUFFLE, 6), (INTERPOLATE, 6)], ids=["shuffle", "interpolate"])
def test_no_arithmetic_on_shapes_is_left(text: str, groups: int) -> None:
    found = inspect(as_model(text, 17).SerializeToString())
    assert not {"Shape", "Gather", "Slice", "Concat", "Div"} & set(found.operators)
    assert found.blockers == []
    assert sum(g["structures"] for g in found.groups) <= groups
    assert found.groups


def test_what_depends_on_two_free_axes_is_left() -> None:
    model = normalize(load_model(as_model(FREE, 17).SerializeToString()))
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert reshape.inputs[1] is not None
    target = reshape.inputs[1].const_value
    assert target is not None
    np.testing.assert_array_equal(target.numpy(), [0, 2, -1])
    assert {"Shape", "Gather"} <= {node.op_type for node in model.graph}  # the output n still needs them
