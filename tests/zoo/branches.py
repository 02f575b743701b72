"""Tiny graphs with branches beside a connection that goes past them, and some that only look alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from tests.zoo.graphs import Graph
from tests.zoo.random_graphs import SIDE, Sketch


@dataclass(frozen=True, kw_only=True)
class Branching(Graph):
    """A graph, and what may vanish from it.

    Attributes:
        vanish: By the first node of each group that may go altogether, those of the groups that fall with it.
        left: Operators that are left once all of them are gone, in graph order.
        constants: How many stored operands stand in for branches then.
    """

    vanish: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    constants: int = 0


BRANCHING = (
    Branching(
        name="basic_block",
        groups=(4, 3),
        vanish={"Conv_1": ()},
        left=("Conv", "Relu", "Conv"),
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[4,3,3,3] w2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(p, w1)  t = Relu(a)
          b = Conv<pads=[1,1,1,1]>(t, w2)  s = Add(b, p)  r = Relu(s)  y = Conv(r, w3) }""",
    ),
    Branching(
        name="basic_block_normalised",
        groups=(4, 3),
        vanish={"Conv_1": ()},
        left=("Conv", "Add", "Relu", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[3] g1, float[3] b1, float[3] m1, float[3] var1,
         float[4,3,3,3] w2, float[4] g2, float[4] b2, float[4] m2, float[4] var2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(p, w1)  n = BatchNormalization(a, g1, b1, m1, var1)
          t = Relu(n)  b = Conv<pads=[1,1,1,1]>(t, w2)  o = BatchNormalization(b, g2, b2, m2, var2)
          s = Add(p, o)  r = Relu(s)  y = Conv(r, w3) }""",
    ),
    Branching(
        name="basic_block_biased_and_scaled",
        groups=(4, 3),
        vanish={"Conv_1": ()},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[3] b1, float[4,3,3,3] w2, float[4] b2,
         float half = {0.5}, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(p, w1, b1)  t = Tanh(a)
          b = Conv<pads=[1,1,1,1]>(t, w2, b2)  c = Mul(b, half)  s = Add(c, p)  y = Conv(s, w3) }""",
    ),
    Branching(
        name="bottleneck_block",
        groups=(4, 3, 5),
        vanish={"Conv_1": ("Conv_3",), "Conv_3": ("Conv_1",)},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,1,1] w1, float[3] b1, float[5,3,3,3] w2, float[5] b2,
         float[4,5,1,1] w3, float[4] b3, float[2,4,1,1] w4>
        { p = Conv(x, w0)  a = Conv(p, w1, b1)  t = Relu(a)  c = Conv<pads=[1,1,1,1]>(t, w2, b2)
          u = Sigmoid(c)  b = Conv(u, w3, b3)  s = Add(b, p)  y = Conv(s, w4) }""",
    ),
    Branching(
        name="borders_of_a_constant_show",
        # Without Conv_1 what Conv_3 makes is one number everywhere, and Conv_5 pads that with zeros.
        groups=(4, 3, 5),
        vanish={"Conv_3": ("Conv_1",)},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,1,1] w1, float[3] b1, float[5,3,3,3] w2, float[5] b2,
         float[4,5,3,3] w3, float[4] b3, float[2,4,1,1] w4>
        { p = Conv(x, w0)  a = Conv(p, w1, b1)  t = Relu(a)  c = Conv<pads=[1,1,1,1]>(t, w2, b2)
          u = Sigmoid(c)  b = Conv<pads=[1,1,1,1]>(u, w3, b3)  s = Add(b, p)  y = Conv(s, w4) }""",
    ),
    Branching(
        name="preactivation_block",
        groups=(4, 3),
        vanish={"Conv_3": ()},
        left=("Conv", "Conv"),
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[4] g1, float[4] b1, float[4] m1, float[4] var1, float[3,4,3,3] w1,
         float[3] g2, float[3] b2, float[3] m2, float[3] var2, float[4,3,3,3] w2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  n = BatchNormalization(p, g1, b1, m1, var1)  r = Relu(n)
          a = Conv<pads=[1,1,1,1]>(r, w1)  o = BatchNormalization(a, g2, b2, m2, var2)  t = Relu(o)
          b = Conv<pads=[1,1,1,1]>(t, w2)  s = Add(p, b)  y = Conv(s, w3) }""",
    ),
    Branching(
        name="squeeze_excite_block",
        groups=(4, 3, 2),
        vanish={"Conv_1": ("Conv_4",), "Conv_4": ()},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,1,1] w1, float[3] b1, float[2,3,1,1] ws, float[2] bs,
         float[3,2,1,1] we, float[3] be, float[4,3,1,1] w2, float[4] b2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv(p, w1, b1)  t = Relu(a)  g = GlobalAveragePool(t)  q = Conv(g, ws, bs)
          f = Relu(q)  e = Conv(f, we, be)  h = Sigmoid(e)  z = Mul(t, h)  b = Conv(z, w2, b2)
          s = Add(b, p)  y = Conv(s, w3) }""",
    ),
    Branching(
        name="convnext_block",
        groups=(6,),  # a layer normalisation keeps the stream as wide as it is
        vanish={"MatMul_4": ()},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[4,1,3,3] wd, float[4] bd, float[4] g, float[4] b, float[4,6] u, float[6] bu,
         float[6,4] d, float[4] bdown, float[4] scale, float[2,4,1,1] w3>
        { p = Conv(x, w0)  c = Conv<group=4, pads=[1,1,1,1]>(p, wd, bd)  l = Transpose<perm=[0,2,3,1]>(c)
          n = LayerNormalization<axis=-1>(l, g, b)  a = MatMul(n, u)  e = Add(a, bu)  t = Tanh(e)
          f = MatMul(t, d)  h = Add(f, bdown)  k = Mul(h, scale)  m = Transpose<perm=[0,3,1,2]>(k)
          s = Add(p, m)  y = Conv(s, w3) }""",
    ),
    Branching(
        name="rows_of_all_samples",  # as attention is written for a product of two matrices
        groups=(4, 3),
        vanish={"MatMul_1": ()},
        left=("MatMul", "Add", "MatMul"),
        constants=1,
        text="""(float[N,T,3] x) => (float[N,T,2] y)
        <float[3,4] w0, float[4,3] u, float[3] bu, int64[2] rows = {-1, 3}, float[3,4] d, float[4] bd,
         int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, float[4,2] w1>
        { p = MatMul(x, w0)  a = MatMul(p, u)  e = Add(a, bu)  t = Tanh(e)  r = Reshape(t, rows)
          f = Gemm(r, d, bd)  z = Shape(x)  n = Slice(z, zero, two, zero)  k = Concat<axis=0>(n, four)
          o = Reshape(f, k)  s = Add(p, o)  y = MatMul(s, w1) }""",
    ),
    Branching(
        name="attention_of_one_head",  # with equal scores it still gives a mean, which is no constant
        groups=(4, 3, 2),
        vanish={"MatMul_6": ("MatMul_1",)},
        left=("MatMul", "Add", "MatMul"),
        constants=1,
        text="""(float[N,T,3] x) => (float[N,T,2] y)
        <float[3,4] w0, float[4,3] wq, float[4,3] wk, float[4,2] wv, float[2,4] wo, float[4] bo,
         float[4,2] w1>
        { p = MatMul(x, w0)  q = MatMul(p, wq)  k = MatMul(p, wk)  j = Transpose<perm=[0,2,1]>(k)
          c = MatMul(q, j)  a = Softmax<axis=-1>(c)  v = MatMul(p, wv)  o = MatMul(a, v)  f = MatMul(o, wo)
          b = Add(f, bo)  s = Add(p, b)  y = MatMul(s, w1) }""",
    ),
    Branching(
        name="rolled",  # as shifted windows are
        groups=(4, 3),
        vanish={"MatMul_1": ()},
        left=("MatMul", "Add", "MatMul"),
        constants=1,
        text="""(float[N,T,3] x) => (float[N,T,2] y)
        <float[3,4] w0, float[4,3] u, float[3] bu, float[3,4] d, float[4] bd, int64[1] zero = {0},
         int64[1] one = {1}, int64[1] far = {99}, float[4,2] w1>
        { p = MatMul(x, w0)  a = MatMul(p, u)  e = Add(a, bu)  t = Tanh(e)  f = MatMul(t, d)  g = Add(f, bd)
          h = Slice(g, one, far, one)  i = Slice(g, zero, one, one)  o = Concat<axis=1>(h, i)
          s = Add(p, o)  y = MatMul(s, w1) }""",
    ),
    Branching(
        name="feed_forward_normalised_behind",
        groups=(6,),
        vanish={"MatMul_1": ()},
        left=("MatMul", "Add", "MatMul"),
        constants=1,
        text="""(float[N,T,3] x) => (float[N,T,2] y)
        <float[3,4] w0, float[4,6] u, float[6] bu, float[6,4] d, float[4] g, float[4] b, float[4,2] w1>
        { p = MatMul(x, w0)  a = MatMul(p, u)  e = Add(a, bu)  t = Relu(e)  f = MatMul(t, d)
          n = LayerNormalization<axis=-1>(f, g, b)  s = Add(p, n)  y = MatMul(s, w1) }""",
    ),
    Branching(
        name="two_blocks_in_a_row",
        groups=(4, 3, 5),
        vanish={"Gemm_1": (), "Gemm_5": ()},
        left=("Gemm", "Add", "Relu", "Sub", "Gemm"),
        constants=2,
        text="""(float[N,3] x) => (float[N,2] y)
        <float[3,4] w0, float[4,3] w1, float[3,4] w2, float[4] b2, float[5,4] w3, float[4,5] w4, float[4] b4,
         float[4,2] w5>
        { p = Gemm(x, w0)  a = Gemm(p, w1)  t = Sigmoid(a)  b = Gemm<beta=2.0>(t, w2, b2)  s = Add(p, b)
          c = Gemm<transB=1>(s, w3)  u = Tanh(c)  d = Gemm<transB=1>(u, w4, b4)  r = Relu(s)
          z = Sub(r, d)  y = Gemm(z, w5) }""",
    ),
    Branching(
        name="a_block_within_a_block",
        groups=(4, 6, 3),
        vanish={"Conv_1": ("Conv_2",), "Conv_2": ()},
        left=("Conv", "Add", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[6,4,1,1] w1, float[3,6,3,3] w2, float[6,3,1,1] w3, float[6] b3,
         float[4,6,3,3] w4, float[4] b4, float[2,4,1,1] w5>
        { p = Conv(x, w0)  a = Conv(p, w1)  c = Conv<pads=[1,1,1,1]>(a, w2)  t = Relu(c)
          d = Conv(t, w3, b3)  e = Add(d, a)  u = Relu(e)  b = Conv<pads=[1,1,1,1]>(u, w4, b4)
          s = Add(b, p)  y = Conv(s, w5) }""",
    ),
    Branching(
        name="only_one_of_two_branches",
        # Nothing else goes past them: without both, the output would be a constant.
        groups=(3, 5, 4),
        vanish={"Conv_0": ()},
        left=("Conv", "Relu", "Conv", "Add", "Relu", "Conv"),
        constants=1,
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[3,3,1,1] w1, float[5,3,1,1] w2, float[5] b2, float[4,3,1,1] w3, float[5,4,1,1] w4,
         float[2,5,1,1] w5>
        { a = Conv(x, w1)  t = Relu(a)  b = Conv(t, w2, b2)  c = Conv(x, w3)  u = Relu(c)  d = Conv(u, w4)
          s = Add(b, d)  r = Relu(s)  y = Conv(r, w5) }""",
    ),
    Branching(
        name="chain",
        groups=(4, 3),
        left=("Conv", "Relu", "Conv", "Relu", "Conv"),
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[3] b1, float[2,3,1,1] w2>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1]>(r, w1, b1)  t = Relu(a)
          y = Conv(t, w2) }""",
    ),
    Branching(
        name="joined_by_concatenation",
        groups=(4, 3, 2),
        left=("Conv", "Conv", "Relu", "Conv", "Concat", "Conv"),
        text="""(float[N,3,H,W] x) => (float[N,2,H,W] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[2,3,1,1] w2, float[2] b2, float[2,6,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(p, w1)  t = Relu(a)  b = Conv(t, w2, b2)
          c = Concat<axis=1>(p, b)  y = Conv(c, w3) }""",
    ),
    Branching(
        name="the_branch_gives_the_size",
        # What goes past it is one row for all: the sum gets its length from the branch.
        groups=(4, 3),
        left=("ReduceMean", "MatMul", "MatMul", "Relu", "MatMul", "Add", "MatMul"),
        text="""(float[N,T,3] x) => (float[N,T,2] y)
        <float[3,4] w0, float[3,3] w1, float[3,4] w2, float[4,2] w3>
        { g = ReduceMean<axes=[1]>(x)  p = MatMul(g, w0)  a = MatMul(x, w1)  t = Relu(a)  b = MatMul(t, w2)
          s = Add(b, p)  y = MatMul(s, w3) }""",
    ),
    Branching(
        name="another_input_is_heard_only_here",
        groups=(4, 3),
        left=("Conv", "Conv", "Relu", "Conv", "Add", "Conv"),
        text="""(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[3,3,3,3] w1, float[4,3,1,1] w2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(z, w1)  t = Relu(a)  b = Conv(t, w2)
          s = Add(b, p)  y = Conv(s, w3) }""",
    ),
    Branching(
        name="the_branch_is_an_output_too",
        groups=(3,),
        left=("Conv", "Conv", "Relu", "Conv", "Add", "Conv"),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y, float[N,4,8,8] b)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[4,3,1,1] w2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  a = Conv<pads=[1,1,1,1]>(p, w1)  t = Relu(a)  b = Conv(t, w2)
          s = Add(b, p)  y = Conv(s, w3) }""",
    ),
)


def _inner(draw: st.DrawFn, g: Sketch, x: str) -> str:
    """One or two hidden convolutions, normalised or not, and one that gives the width of ``x`` back."""
    width, y = g.shapes[x][0], x
    for _ in range(draw(st.integers(1, 2))):
        hidden = draw(st.integers(2, 4))
        kernel = draw(st.sampled_from([1, 3]))
        y = _conv(draw, g, y, hidden, kernel)
        if draw(st.booleans()):
            y = _gated(draw, g, y)
        (y,) = g.node(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh"])), [y], g.shapes[y])
    return _conv(draw, g, y, width, draw(st.sampled_from([1, 3])))


def _conv(draw: st.DrawFn, g: Sketch, x: str, out: int, kernel: int) -> str:
    width, *side = g.shapes[x]
    weights = [g.weight(out, width, kernel, kernel), *([g.weight(out)] if draw(st.booleans()) else [])]
    pads, sizes = [kernel // 2] * 4, [kernel, kernel]
    (y,) = g.node("Conv", [x, *weights], (out, *side), kernel_shape=sizes, pads=pads)
    if draw(st.booleans()):
        numbers = [g.weight(out), g.weight(out), g.weight(out), g.weight(out, positive=True)]
        (y,) = g.node("BatchNormalization", [y, *numbers], (out, *side))
    return y


def _gated(draw: st.DrawFn, g: Sketch, x: str) -> str:
    """Multiplied with what a small branch makes of its mean."""
    width, *side = g.shapes[x]
    (mean,) = g.node("GlobalAveragePool", [x], (width, 1, 1))
    squeezed = _conv(draw, g, mean, 2, 1)
    (gate,) = g.node("Sigmoid", [_conv(draw, g, squeezed, width, 1)], (width, 1, 1))
    (y,) = g.node("Mul", [x, gate], (width, *side))
    return y


@st.composite
def residual_models(draw: st.DrawFn) -> bytes:
    """A stem, some blocks, of which each may hold another, and a head; a free batch."""
    g = Sketch(rng=np.random.default_rng(draw(st.integers(0, 2**16))))
    g.shapes["x"] = (3, SIDE, SIDE)
    stream = _conv(draw, g, "x", 4, 1)
    for _ in range(draw(st.integers(1, 3))):
        inner = _inner(draw, g, stream)
        if draw(st.booleans()):
            (inner,) = g.node("Add", [inner, _inner(draw, g, inner)], g.shapes[inner])
        (stream,) = g.node("Add", draw(st.permutations([inner, stream])), g.shapes[stream])
    (result,) = g.node("MatMul", [stream, g.weight(SIDE, 2)], (4, SIDE, 2))
    return g.model(result).SerializeToString()
