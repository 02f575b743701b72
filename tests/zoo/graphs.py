"""Tiny graphs as ONNX text, one for each way that structure can run through a network.

Weights are declared without values, as in ``<float[4,3,3,3] w>``, and drawn from a seed; those
whose name starts with ``var`` are variances. The numbers expected are worked out by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from tests.zoo.built import Built, prepare


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A tiny model and what discovery must find in it.

    Attributes:
        groups: Sizes of the groups, in graph order of their first node.
        refusals: Part of the reason of every refusal, in graph order.
        params: Float elements of all weights, counted by hand where it is worth it.
    """

    name: str
    text: str
    groups: tuple[int, ...]
    refusals: tuple[str, ...] = ()
    opset: int = 17
    params: int | None = None

    @property
    def structures(self) -> int:
        return sum(self.groups)


def content_of(graph: Graph) -> bytes:
    return as_model(graph.text, graph.opset).SerializeToString()


def as_model(text: str, opset: int) -> onnx.ModelProto:
    """Parse the text of a graph and draw the weights it leaves open."""
    header = f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
    model = onnx.parser.parse_model(f"{header} g {text}")
    rng = np.random.default_rng(7)
    made = {name for node in model.graph.node for name in node.output}
    for info in list(model.graph.value_info):
        if info.name in made:
            continue
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        values = rng.standard_normal(shape) / max(1.0, float(np.prod(shape[1:]))) ** 0.5
        if info.name.startswith("var"):
            values = np.abs(values) + 0.5
        model.graph.initializer.append(numpy_helper.from_array(values.astype(dtype), info.name))
        model.graph.value_info.remove(info)
    return model


@cache
def build(graph: Graph) -> Built:
    return prepare(content_of(graph))


GRAPHS = (
    Graph(
        name="conv_chain",
        groups=(6, 5),
        params=6 * 3 * 9 + 4 * 6 + 5 * 6 * 9 + 5 + 4 * 5,
        text="""(float[N,3,8,8] x) => (float[N,4,6,6] y)
        <float[6,3,3,3] w1, float[6] g1, float[6] b1, float[6] m1, float[6] var1,
         float[5,6,3,3] w2, float[5] b2, float[4,5,1,1] w3>
        { a = Conv<pads=[1,1,1,1]>(x, w1)  n = BatchNormalization(a, g1, b1, m1, var1)  r = Relu(n)
          c = Conv(r, w2, b2)  s = Sigmoid(c)  y = Conv(s, w3) }""",
    ),
    Graph(
        name="residual_add_couples_two_convs",
        groups=(4, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[4,3,3,3] w2, float[2,4,1,1] w3>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1]>(r, w1)  t = Tanh(a)
          b = Conv<pads=[1,1,1,1]>(t, w2)  s = Add(b, p)  y = Conv(s, w3) }""",
    ),
    Graph(
        name="residual_option_b",
        groups=(4, 5, 6),
        text="""(float[N,3,8,8] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[5,4,3,3] w1, float[6,5,3,3] w2, float[6,4,1,1] ws, float[2,6,1,1] w3>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1], strides=[2,2]>(r, w1)  t = Relu(a)
          b = Conv<pads=[1,1,1,1]>(t, w2)  q = Conv<strides=[2,2]>(r, ws)
          s = Add(b, q)  z = Relu(s)  y = Conv(z, w3) }""",
    ),
    Graph(
        name="residual_option_a_attributes",
        opset=9,
        # Two padded channels in front, two behind; the middle four are those of the stem.
        groups=(4, 5, 4),
        text="""(float[N,3,8,8] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[5,4,3,3] w1, float[8,5,3,3] w2, float[2,8,1,1] w3>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1], strides=[2,2]>(r, w1)  t = Relu(a)
          b = Conv<pads=[1,1,1,1]>(t, w2)
          h = MaxPool<kernel_shape=[1,1], strides=[2,2]>(r)
          c = Slice<axes=[1], starts=[0], ends=[9223372036854775807]>(h)
          q = Pad<mode="constant", pads=[0,2,0,0,0,2,0,0]>(c)
          s = Add(b, q)  z = Relu(s)  y = Conv(z, w3) }""",
    ),
    Graph(
        name="residual_option_a_inputs",
        groups=(4, 5, 4),
        text="""(float[N,3,8,8] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[5,4,3,3] w1, float[8,5,3,3] w2, float[2,8,1,1] w3,
         int64[2] starts = {0, 0}, int64[2] ends = {9223372036854775807, 9223372036854775807},
         int64[2] axes = {2, 3}, int64[2] steps = {2, 2},
         int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1], strides=[2,2]>(r, w1)  t = Relu(a)
          b = Conv<pads=[1,1,1,1]>(t, w2)
          h = Slice(r, starts, ends, axes, steps)
          q = Pad(h, pads)
          s = Add(b, q)  z = Relu(s)  y = Conv(z, w3) }""",
    ),
    Graph(
        name="depthwise",
        groups=(6, 4),
        params=6 * 3 + 6 * 9 + 6 + 4 * 6 + 2 * 4,
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,3,1,1] w0, float[6,1,3,3] wd, float[6] bd, float[4,6,1,1] w1, float[2,4,1,1] w2>
        { p = Conv(x, w0)  r = Relu(p)  d = Conv<group=6, pads=[1,1,1,1]>(r, wd, bd)
          c = Clip(d)  e = Conv(c, w1)  t = Tanh(e)  y = Conv(t, w2) }""",
    ),
    Graph(
        name="depthwise_multiplier",
        groups=(3,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[3,3,1,1] w0, float[6,1,3,3] wd, float[6] bd, float[2,6,1,1] w1>
        { p = Conv(x, w0)  r = Relu(p)  d = Conv<group=3, pads=[1,1,1,1]>(r, wd, bd)
          t = Tanh(d)  y = Conv(t, w1) }""",
    ),
    Graph(
        name="depthwise_on_the_input_stays",
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,1,3,3] wd, float[4,6,1,1] w1, float[2,4,1,1] w2>
        { d = Conv<group=3, pads=[1,1,1,1]>(x, wd)  e = Conv(d, w1)  t = Relu(e)  y = Conv(t, w2) }""",
    ),
    Graph(
        name="grouped_conv_shrinks_every_group_alike",
        groups=(3, 2),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,3,1,1] w0, float[4,3,3,3] wg, float[4] bg, float[2,4,1,1] w1>
        { p = Conv(x, w0)  r = Relu(p)  d = Conv<group=2, pads=[1,1,1,1]>(r, wg, bg)
          t = Relu(d)  y = Conv(t, w1) }""",
    ),
    Graph(
        name="dense_concat",
        groups=(4, 3, 5),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[3,4,3,3] w1, float[5,7,3,3] w2,
         float[12] g, float[12] b, float[12] m, float[12] var, float[2,12,1,1] w3>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1]>(r, w1)
          c1 = Concat<axis=1>(r, a)  d = Conv<pads=[1,1,1,1]>(c1, w2)  c2 = Concat<axis=1>(c1, d)
          n = BatchNormalization(c2, g, b, m, var)  z = Relu(n)  y = Conv(z, w3) }""",
    ),
    Graph(
        name="concat_with_the_input",
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[2,7,3,3] w1>
        { p = Conv(x, w0)  r = Relu(p)  c = Concat<axis=1>(x, r)  y = Conv<pads=[1,1,1,1]>(c, w1) }""",
    ),
    Graph(
        name="squeeze_excite_sigmoid_pool",
        groups=(6, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,3,1,1] w0, float[3,6,1,1] ws, float[3] bs, float[6,3,1,1] we, float[6] be, float[2,6,1,1] w1>
        { p = Conv(x, w0)  r = Relu(p)  g = GlobalAveragePool(r)  s = Conv(g, ws, bs)  t = Relu(s)
          e = Conv(t, we, be)  h = Sigmoid(e)  z = Mul(r, h)  y = Conv(z, w1) }""",
    ),
    Graph(
        name="squeeze_excite_hardsigmoid_mean",
        groups=(6, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[6,3,1,1] w0, float[3,6,1,1] ws, float[3] bs, float[6,3,1,1] we, float[6] be, float[2,6,1,1] w1>
        { p = Conv(x, w0)  r = HardSwish(p)  g = ReduceMean<axes=[2,3]>(r)  s = Conv(g, ws, bs)  t = Relu(s)
          e = Conv(t, we, be)  h = HardSigmoid<alpha=0.1666, beta=0.5>(e)  z = Mul(h, r)
          y = Conv(z, w1) }""",
    ),
    Graph(
        name="channel_split_and_shuffle",
        # The untouched half and the branch's end fall together in the shuffle.
        groups=(4, 4, 4),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[8,3,1,1] w0, float[4,4,1,1] w1, float[4,1,3,3] wd, float[4,4,1,1] w2, float[2,8,1,1] w3,
         int64[2] halves = {4, 4}, int64[5] apart = {0, 2, 4, 8, 8}, int64[4] flat = {0, 8, 8, 8}>
        { p = Conv(x, w0)  r = Relu(p)  a, b = Split<axis=1>(r, halves)
          c = Conv(b, w1)  d = Relu(c)  e = Conv<group=4, pads=[1,1,1,1]>(d, wd)  f = Conv(e, w2)
          j = Concat<axis=1>(a, f)  q = Reshape(j, apart)  t = Transpose<perm=[0,2,1,3,4]>(q)
          u = Reshape(t, flat)  v = Relu(u)  y = Conv(v, w3) }""",
    ),
    Graph(
        name="split_into_equal_parts_without_sizes",
        opset=18,
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[8,3,1,1] w0, float[2,4,1,1] w1>
        { p = Conv(x, w0)  a, b = Split<axis=1, num_outputs=2>(p)  g = Sigmoid(b)  z = Mul(a, g)
          y = Conv(z, w1) }""",
    ),
    Graph(
        name="split_by_attribute",
        opset=11,
        groups=(6, 2),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y, float[N,1,8,8] z)
        <float[8,3,1,1] w0, float[2,6,1,1] w1, float[1,2,1,1] w2>
        { p = Conv(x, w0)  a, b = Split<axis=1, split=[6,2]>(p)  y = Conv(a, w1)  z = Conv(b, w2) }""",
    ),
    Graph(
        name="flatten_to_gemm_with_pixels",
        groups=(4, 6),
        params=4 * 3 * 9 + 4 + 6 * 64 + 6 + 3 * 6 + 3,
        text="""(float[N,3,8,8] x) => (float[N,3] y)
        <float[4,3,3,3] w0, float[4] b0, float[6,64] w1, float[6] b1, float[3,6] w2, float[3] b2>
        { p = Conv<pads=[1,1,1,1]>(x, w0, b0)  r = Relu(p)  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
          f = Flatten(m)  h = Gemm<transB=1>(f, w1, b1)  t = Relu(h)  y = Gemm<transB=1>(t, w2, b2) }""",
    ),
    Graph(
        name="gemm_plain_scaled_and_transposed",
        groups=(6, 5),
        text="""(float[N,4] x) => (float[N,3] y)
        <float[4,6] w1, float[6] b1, float[5,6] w2, float[1,5] b2, float[5,3] w3>
        { a = Gemm<alpha=0.5, beta=2.0>(x, w1, b1)  t = Tanh(a)  b = Gemm<transB=1>(t, w2, b2)
          s = Softplus(b)  y = Gemm(s, w3) }""",
    ),
    Graph(
        name="matmul_add_mlp",
        groups=(6, 5),
        params=4 * 6 + 6 + 6 * 5 + 5 + 5 * 3 + 3,
        text="""(float[N,4] x) => (float[N,3] y)
        <float[4,6] w1, float[6] b1, float[6,5] w2, float[5] b2, float[5,3] w3, float[3] b3>
        { a = MatMul(x, w1)  c = Add(a, b1)  t = Tanh(c)  d = MatMul(t, w2)  e = Add(b2, d)  f = Elu(e)
          g = MatMul(f, w3)  y = Add(g, b3) }""",
    ),
    Graph(
        name="tokens_through_a_folded_batch",
        # [N, 5, 4] as [5 N, 4]: the product runs five times for each sample.
        groups=(6,),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,6] w1, float[6] b1, float[6,3] w2, int64[2] rows = {-1, 4}, int64[3] back = {-1, 5, 3}>
        { f = Reshape(x, rows)  a = Gemm(f, w1, b1)  t = Relu(a)  g = Gemm(t, w2)  y = Reshape(g, back) }""",
    ),
    Graph(
        name="token_mixing",
        # Hidden tokens go in one product, hidden channels in the other; both are priced.
        groups=(4, 6),
        text="""(float[N,5,3] x) => (float[N,5,2] y)
        <float[3,4] w0, float[5,6] w1, float[6,5] w2, float[4,2] w3>
        { a = MatMul(x, w0)  r = Relu(a)  s = Transpose<perm=[0,2,1]>(r)  b = MatMul(s, w1)  t = Relu(b)
          c = MatMul(t, w2)  u = Transpose<perm=[0,2,1]>(c)  v = Relu(u)  y = MatMul(v, w3) }""",
        refusals=(),
    ),
    Graph(
        name="two_heads",
        groups=(4, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y, float[N,5] z)
        <float[4,3,1,1] w0, float[2,4,1,1] w1, float[3,4,3,3] w2, float[5,3] w3>
        { p = Conv(x, w0)  r = Relu(p)  y = Conv(r, w1)  a = Conv(r, w2)  t = Relu(a)
          g = GlobalAveragePool(t)  f = Flatten(g)  z = Gemm<transB=1>(f, w3) }""",
    ),
    Graph(
        name="shared_weight_of_two_convs",
        # Both uses read and make the same four channels.
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[4,4,3,3] w, float[2,4,1,1] w1>
        { p = Conv(x, w0)  r = Relu(p)  a = Conv<pads=[1,1,1,1]>(r, w)  t = Relu(a)
          b = Conv<pads=[1,1,1,1]>(t, w)  s = Relu(b)  y = Conv(s, w1) }""",
    ),
    Graph(
        name="shared_weight_with_a_fixed_reader",
        # The first use reads the image, so the input axis of the weight stays whole.
        groups=(4,),
        refusals=("is shared with other layers",),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,3,3] w, float[3,4,1,1] w1, float[2,4,1,1] w2>
        { a = Conv<pads=[1,1,1,1]>(x, w)  r = Relu(a)  b = Conv(r, w1)  t = Relu(b)
          c = Conv<pads=[1,1,1,1]>(t, w)  s = Relu(c)  y = Conv(s, w2) }""",
    ),
    Graph(
        name="reshape_target_from_shape",
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,3] y)
        <float[4,3,1,1] w0, float[256,3] w1, int64 zero = {0}, int64[1] first = {0}, int64[1] width = {256}>
        { p = Conv(x, w0)  r = Relu(p)  s = Shape(r)  n = Gather(s, zero)  u = Unsqueeze(n, first)
          c = Concat<axis=0>(u, width)  f = Reshape(r, c)  y = Gemm(f, w1) }""",
    ),
    Graph(
        name="reshape_target_computed_throughout",
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,64] y)
        <float[4,3,1,1] w0, float[2,4,1] w1, int64[1] two = {2}, int64[1] zero = {0}, int64[1] minus = {-1}>
        { p = Conv(x, w0)  r = Relu(p)  s = Shape(r)  h = Slice(s, zero, two, zero)
          c = Concat<axis=0>(h, minus)  f = Reshape(r, c)  y = Conv(f, w1) }""",
    ),
    Graph(
        name="reshape_target_that_no_numbers_can_say",
        # The batch is that of another tensor, and there is a -1 already: the arithmetic has to stay.
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,64] y)
        <float[4,3,1,1] w0, float[2,4,1] w1, int64 zero = {0}, int64[1] axis = {0}, int64[1] four = {4},
         int64[1] minus = {-1}>
        { p = Conv(x, w0)  r = Relu(p)  s = Shape(x)  n = Gather(s, zero)  b = Unsqueeze(n, axis)
          c = Concat<axis=0>(b, four, minus)  f = Reshape(r, c)  y = Conv(f, w1) }""",
    ),
    Graph(
        name="reshape_target_shared_by_two_nodes",
        groups=(4, 4),
        text="""(float[N,3,8,8] x) => (float[N,3] y)
        <float[4,3,1,1] w0, float[4,3,1,1] w1, float[256,3] w2, float[256,3] w3, int64[2] flat = {-1, 256}>
        { p = Conv(x, w0)  r = Relu(p)  f = Reshape(r, flat)  a = Gemm(f, w2)
          q = Conv(x, w1)  s = Relu(q)  g = Reshape(s, flat)  b = Gemm(g, w3)  y = Add(a, b) }""",
    ),
    Graph(
        name="computed_target_shared_by_two_nodes",
        # One Concat makes the target of both; each gets numbers of its own when sizes are settled.
        groups=(4, 4),
        text="""(float[N,3,8,8] x) => (float[N,3] y)
        <float[4,3,1,1] w0, float[4,3,1,1] w1, float[256,3] w2, float[256,3] w3,
         int64[1] zero = {0}, int64[1] one = {1}, int64[1] width = {256}>
        { s = Shape(x)  n = Slice(s, zero, one)  c = Concat<axis=0>(n, width)
          p = Conv(x, w0)  r = Relu(p)  f = Reshape(r, c)  a = Gemm(f, w2)
          q = Conv(x, w1)  t = Relu(q)  g = Reshape(t, c)  b = Gemm(g, w3)  y = Add(a, b) }""",
    ),
    Graph(
        name="computed_target_shared_with_a_fixed_node",
        # The image cannot shrink; what is reshaped by the same integers can, with a target of its own.
        groups=(4, 5),
        text="""(float[N,4,8,8] x) => (float[N,3] y)
        <float[4,4,1,1] w0, float[256,5] w2, float[256,5] w3, float[5,3] w4,
         int64[1] zero = {0}, int64[1] one = {1}, int64[1] width = {256}>
        { s = Shape(x)  n = Slice(s, zero, one)  c = Concat<axis=0>(n, width)
          p = Conv(x, w0)  r = Relu(p)  f = Reshape(r, c)  a = Gemm(f, w2)
          g = Reshape(x, c)  b = Gemm(g, w3)  h = Add(a, b)  y = Gemm(h, w4) }""",
    ),
    Graph(
        name="split_sizes_shared_by_two_nodes",
        groups=(2, 2, 2, 2),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[4,3,1,1] w1, float[2,2,1,1] v0, float[2,2,1,1] v1, float[2,2,1,1] v2,
         float[2,2,1,1] v3, int64[2] halves = {2, 2}>
        { p = Conv(x, w0)  a, b = Split<axis=1>(p, halves)  q = Conv(x, w1)  c, d = Split<axis=1>(q, halves)
          k = Conv(a, v0)  l = Conv(b, v1)  m = Conv(c, v2)  n = Conv(d, v3)  y = Sum(k, l, m, n) }""",
    ),
    Graph(
        name="unet",
        groups=(4, 6, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,3,3] w0, float[6,4,3,3] w1, float[6,3,2,2] wt, float[3] bt, float[2,7,1,1] w2>
        { p = Conv<pads=[1,1,1,1]>(x, w0)  r = Relu(p)  m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
          a = Conv<pads=[1,1,1,1]>(m, w1)  t = Relu(a)  u = ConvTranspose<strides=[2,2]>(t, wt, bt)
          c = Concat<axis=1>(u, r)  y = Conv(c, w2) }""",
    ),
    Graph(
        name="depthwise_conv_transpose",
        groups=(4,),
        text="""(float[N,3,4,4] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[4,1,2,2] wt, float[4] bt, float[2,4,1,1] w2>
        { p = Conv(x, w0)  r = Relu(p)  u = ConvTranspose<strides=[2,2], group=4>(r, wt, bt)
          y = Conv(u, w2) }""",
    ),
    Graph(
        name="grouped_conv_transpose_stays",
        groups=(),
        refusals=("grouped transposed convolution",),
        text="""(float[N,3,4,4] x) => (float[N,4,8,8] y)
        <float[4,3,1,1] w0, float[4,2,2,2] wt>
        { p = Conv(x, w0)  r = Relu(p)  y = ConvTranspose<strides=[2,2], group=2>(r, wt) }""",
    ),
    Graph(
        name="instance_normalization",
        groups=(4,),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[4] g, float[4] b, float[2,4,1,1] w2>
        { p = Conv(x, w0)  n = InstanceNormalization(p, g, b)  r = Relu(n)  y = Conv(r, w2) }""",
    ),
    Graph(
        name="group_norm_as_instance_norm_loses_whole_groups",
        # Exporters write GroupNorm(2, 8) this way: statistics run over four channels each.
        groups=(2, 3),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[8,3,1,1] w0, float[2] g = {1.0, 1.0}, float[2] b = {0.0, 0.0}, float[8,1,1] gamma,
         float[8,1,1] beta, float[3,8,1,1] w1, float[2,3,1,1] w2,
         int64[3] rows = {0, 2, -1}, int64[4] back = {0, 8, 4, 4}>
        { p = Conv(x, w0)  f = Reshape(p, rows)  n = InstanceNormalization(f, g, b)  u = Reshape(n, back)
          s = Mul(u, gamma)  t = Add(s, beta)  r = Relu(t)  c = Conv(r, w1)  d = Relu(c)
          y = Conv(d, w2) }""",
    ),
    Graph(
        name="prelu_slope",
        groups=(4, 3),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[4,1,1] slope, float[3,4,1,1] w1, float[1] one, float[2,3,1,1] w2>
        { p = Conv(x, w0)  r = PRelu(p, slope)  q = Conv(r, w1)  s = PRelu(q, one)  y = Conv(s, w2) }""",
    ),
    Graph(
        name="layer_norm_stays",
        groups=(5,),
        refusals=("normalises over the channels",),
        text="""(float[N,6,4] x) => (float[N,6,3] y)
        <float[4,6] w1, float[6] g, float[6] b, float[6,5] w2, float[5,3] w3>
        { a = MatMul(x, w1)  n = LayerNormalization(a, g, b)  c = MatMul(n, w2)  t = Gelu(c)
          y = MatMul(t, w3) }""",
        opset=20,
    ),
    Graph(
        name="softmax_over_channels_stays",
        groups=(5,),
        refusals=("normalises over the channels",),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[5,4,1,1] w1, float[2,5,1,1] w2>
        { p = Conv(x, w0)  s = Softmax<axis=1>(p)  q = Conv(s, w1)  r = Relu(q)  y = Conv(r, w2) }""",
    ),
    Graph(
        name="output_inside_freezes",
        groups=(5,),
        text="""(float[N,3,8,8] x) => (float[N,4,8,8] a, float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[5,4,1,1] w1, float[2,5,1,1] w2>
        { p = Conv(x, w0)  a = Relu(p)  q = Conv(a, w1)  r = Relu(q)  y = Conv(r, w2) }""",
    ),
    Graph(
        name="one_layer",
        groups=(),
        text="""(float[N,3,8,8] x) => (float[N,2,8,8] y) <float[2,3,1,1] w> { y = Conv(x, w) }""",
    ),
    Graph(
        name="resize_by_scales",
        groups=(4,),
        text="""(float[N,3,4,4] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[2,4,1,1] w2, float[4] scales = {1.0, 1.0, 2.0, 2.0}>
        { p = Conv(x, w0)  r = Relu(p)  u = Resize<mode="nearest">(r, , scales)  y = Conv(u, w2) }""",
    ),
    Graph(
        name="resize_to_sizes",
        groups=(4,),
        text="""(float[3,3,4,4] x) => (float[3,2,8,8] y)
        <float[4,3,1,1] w0, float[2,4,1,1] w2, int64[4] sizes = {3, 4, 8, 8}>
        { p = Conv(x, w0)  r = Relu(p)  u = Resize<mode="linear">(r, , , sizes)  y = Conv(u, w2) }""",
    ),
    Graph(
        name="conv_1d",
        groups=(5,),
        text="""(float[N,3,16] x) => (float[N,2,14] y) <float[5,3,3] w0, float[5] b0, float[2,5,1] w1>
        { p = Conv(x, w0, b0)  r = Relu(p)  y = Conv(r, w1) }""",
    ),
    Graph(
        name="conv_3d",
        groups=(5,),
        text="""(float[N,2,6,6,6] x) => (float[N,2,4,4,4] y) <float[5,2,3,3,3] w0, float[2,5,1,1,1] w1>
        { p = Conv(x, w0)  r = Relu(p)  y = Conv(r, w1) }""",
    ),
    Graph(
        name="wide_spatial_reshape_loses_channels",
        # A decoder's [N, 72] as [N, 2, 6, 6]: pixels are wider than channels, yet only channels may go.
        groups=(2, 3),
        text="""(float[N,4] x) => (float[N,2,6,6] y)
        <float[4,72] w0, float[72] b0, float[3,2,3,3] w1, float[2,3,1,1] w2, int64[4] image = {-1, 2, 6, 6}>
        { a = Gemm(x, w0, b0)  r = Relu(a)  i = Reshape(r, image)  c = Conv<pads=[1,1,1,1]>(i, w1)
          t = Relu(c)  y = Conv(t, w2) }""",
    ),
    Graph(
        name="decoder_reshape_by_channels",
        groups=(8, 3),
        text="""(float[N,4] x) => (float[N,2,4,4] y)
        <float[4,32] w0, float[32] b0, float[8,3,2,2] wt, float[2,3,1,1] w2, int64[4] image = {-1, 8, 2, 2}>
        { a = Gemm(x, w0, b0)  r = Relu(a)  i = Reshape(r, image)  c = ConvTranspose<strides=[2,2]>(i, wt)
          t = Relu(c)  y = Conv(t, w2) }""",
    ),
    Graph(
        name="attention",
        # Whole heads go: of queries, keys and values together.
        groups=(2,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,6] wq, float[4,6] wk, float[4,6] wv, float[6,4] wo,
         int64[4] heads = {0, 0, 2, 3}, int64[3] flat = {0, 0, 6}, float scale = {0.577}>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          qr = Reshape(q, heads)  kr = Reshape(k, heads)  vr = Reshape(v, heads)
          qt = Transpose<perm=[0,2,1,3]>(qr)  kt = Transpose<perm=[0,2,3,1]>(kr)
          vt = Transpose<perm=[0,2,1,3]>(vr)
          s = MatMul(qt, kt)  z = Mul(s, scale)  p = Softmax<axis=-1>(z)  o = MatMul(p, vt)
          ot = Transpose<perm=[0,2,1,3]>(o)  f = Reshape(ot, flat)  y = MatMul(f, wo) }""",
    ),
    Graph(
        name="attention_of_heads_in_a_fused_matrix",
        # [B, N, 3, heads, size]: a head of queries goes with that of keys and values.
        groups=(2,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,18] w, float[18] b, float[6,4] wo, int64[5] apart = {0, 5, 3, 2, 3},
         int64[3] flat = {0, 0, 6}, int64 zero = {0}, int64 one = {1}, int64 two = {2}>
        { j = MatMul(x, w)  a = Add(j, b)  r = Reshape(a, apart)  t = Transpose<perm=[2,0,3,1,4]>(r)
          q = Gather(t, zero)  k = Gather(t, one)  v = Gather(t, two)  kt = Transpose<perm=[0,1,3,2]>(k)
          s = MatMul(q, kt)  p = Softmax<axis=-1>(s)  o = MatMul(p, v)  ot = Transpose<perm=[0,2,1,3]>(o)
          f = Reshape(ot, flat)  y = MatMul(f, wo) }""",
    ),
    Graph(
        name="attention_with_repeated_keys",
        # Two heads of keys serve four of queries.
        groups=(2,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,12] wq, float[4,6] wk, float[4,6] wv, float[12,4] wo, int64[4] four = {0, 0, 4, 3},
         int64[5] pair = {0, 0, 2, 1, 3}, int64[5] twice = {1, 1, 1, 2, 1}, int64[4] all = {0, 5, 4, 3},
         int64[3] flat = {0, 0, 12}>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          qr = Reshape(q, four)  kr = Reshape(k, pair)  vr = Reshape(v, pair)
          ke = Tile(kr, twice)  ve = Tile(vr, twice)  kf = Reshape(ke, all)  vf = Reshape(ve, all)
          qt = Transpose<perm=[0,2,1,3]>(qr)  kt = Transpose<perm=[0,2,3,1]>(kf)
          vt = Transpose<perm=[0,2,1,3]>(vf)  s = MatMul(qt, kt)  p = Softmax<axis=-1>(s)
          o = MatMul(p, vt)  ot = Transpose<perm=[0,2,1,3]>(o)  f = Reshape(ot, flat)  y = MatMul(f, wo) }""",
    ),
    Graph(
        name="attention_operator_with_grouped_queries",
        opset=23,
        groups=(2,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,12] wq, float[4,6] wk, float[4,10] wv, float[20,4] wo, float[4,5,5] bias>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          a = Attention<q_num_heads=4, kv_num_heads=2>(q, k, v, bias)  y = MatMul(a, wo) }""",
    ),
    Graph(
        name="attention_operator_with_rotary_positions",
        opset=23,
        groups=(3,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,12] wq, float[4,12] wk, float[4,12] wv, float[12,4] wo,
         int64[4] heads = {0, 0, 3, 4}, int64[3] flat = {0, 0, 12}, float[5,2] c, float[5,2] n,
         int64[1] zero = {0}, int64[1] one = {1}, int64[2] rest = {5, 2}>
        { s = Shape(x)  b = Slice(s, zero, one)  t = Concat<axis=0>(b, rest)
          cc = Expand(c, t)  ss = Expand(n, t)
          q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          qp = RotaryEmbedding<num_heads=3>(q, cc, ss)  qr = Reshape(qp, heads)  kr = Reshape(k, heads)
          vr = Reshape(v, heads)  qt = Transpose<perm=[0,2,1,3]>(qr)  kt = Transpose<perm=[0,2,1,3]>(kr)
          vt = Transpose<perm=[0,2,1,3]>(vr)  kp = RotaryEmbedding(kt, cc, ss)
          a = Attention<is_causal=1>(qt, kp, vt)  at = Transpose<perm=[0,2,1,3]>(a)  f = Reshape(at, flat)
          y = MatMul(f, wo) }""",
    ),
    Graph(
        name="attention_operator_on_its_input_stays",
        opset=23,
        groups=(),
        refusals=("not all of queries, keys and values",),
        text="""(float[N,5,6] x) => (float[N,5,4] y) <float[6,6] wq, float[6,4] wo>
        { q = MatMul(x, wq)  a = Attention<q_num_heads=2, kv_num_heads=2>(q, x, x)  y = MatMul(a, wo) }""",
    ),
    Graph(
        name="filled_in_the_shape_of_another_tensor",
        # ``cat([p, zeros_like(p)])`` and ``p * full_like(p, 2)``: both go with the channels of p.
        groups=(5, 4),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[5,3,1,1] w1, float[4,5,3,3] w2, float[4] b2, float[2,8,1,1] w3>
        { p = Conv(x, w1)  s = Shape(p)  z = ConstantOfShape(s)  e = Exp(z)  m = Mul(p, e)
          q = Conv<pads=[1,1,1,1]>(m, w2, b2)  t = Shape(q)  f = ConstantOfShape(t)  c = Concat<axis=1>(q, f)
          y = Conv(c, w3) }""",
    ),
    Graph(
        name="width_used_as_a_number_stays_that_number",
        # The scores are divided by the root of a width that is known ahead: slim or not, of six.
        groups=(6, 4),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,6] wq, float[4,6] wk, float[4,4] wv, float[4,3] wo, int64 two = {2}>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)  sh = Shape(q)  d = Gather(sh, two)
          e = Cast<to=1>(d)  f = Sqrt(e)  kt = Transpose<perm=[0,2,1]>(k)  s = MatMul(q, kt)  z = Div(s, f)
          p = Softmax<axis=-1>(z)  o = MatMul(p, v)  y = MatMul(o, wo) }""",
    ),
    Graph(
        name="number_of_elements_used_stays",
        groups=(),
        refusals=("a width is used as a number",),
        text="""(float[N,5] x) => (float[N,3] y) <float[5,4] w0, float[4,3] w1>
        { a = MatMul(x, w0)  n = Size(a)  f = Cast<to=1>(n)  b = Div(a, f)  y = MatMul(b, w1) }""",
    ),
    Graph(
        name="two_gates_on_one_input",
        # The sum reads along both axes, the product along one of them.
        groups=(4, 6),
        text="""(float[N,5,3] x) => (float[N,1,1] s, float[N,2,2] y)
        <float[3,4] w0, float[5,6] w1, float[6,2] w2, float[4,2] w3, int64[2] both = {1, 2}>
        { a = MatMul(x, w0)  r = Relu(a)  t = Transpose<perm=[0,2,1]>(r)  b = MatMul(t, w1)  c = Tanh(b)
          s = ReduceSum(c, both)  d = MatMul(c, w2)  e = Transpose<perm=[0,2,1]>(d)  y = MatMul(e, w3) }""",
    ),
    Graph(
        name="gram_matrix",
        # The product of a tensor with its own transpose has one structure on two axes.
        groups=(4, 6),
        text="""(float[N,5,3] x) => (float[N,1,1] y)
        <float[3,4] w0, float[5,6] w1, int64[2] both = {1, 2}>
        { a = MatMul(x, w0)  r = Relu(a)  t = Transpose<perm=[0,2,1]>(r)  b = MatMul(t, w1)  c = Tanh(b)
          u = Transpose<perm=[0,2,1]>(c)  g = MatMul(c, u)  h = Exp(g)  y = ReduceSum(h, both) }""",
    ),
    Graph(
        name="einsum_of_weights_and_of_heads",
        # Heads have a letter of their own, and so have their sizes: all can shrink by themselves.
        groups=(2, 3, 6, 5),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,2,3] wq, float[4,2,3] wk, float[4,2,6] wv, float[2,6,5] wo, float[5,3] w>
        { q = Einsum<equation="btc,chd->bthd">(x, wq)  k = Einsum<equation="btc, chd -> bthd">(x, wk)
          v = Einsum<equation="btc,chd->bhtd">(x, wv)  s = Einsum<equation="bqhd,bkhd->bhqk">(q, k)
          p = Softmax<axis=-1>(s)  o = Einsum<equation="bhqk,bhkd->bqhd">(p, v)
          m = Einsum<equation="bqhd,hde->bqe">(o, wo)  r = Relu(m)
          y = Einsum<equation="bqe,ef->bqf">(r, w) }""",
    ),
    Graph(
        name="joint_that_meets_two_single_axes",
        # Heads and their sizes by themselves on one side, one axis cut in two on the other: heads.
        groups=(2,),
        refusals=("whose width cannot change",),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,2,3] wq, float[4,6] wk, float[2,3,3] wo, int64[4] heads = {0, 0, 2, 3}>
        { q = Einsum<equation="btc,chd->bthd">(x, wq)  k = MatMul(x, wk)  r = Reshape(k, heads)
          s = Add(q, r)  t = Relu(s)  y = Einsum<equation="bthd,hde->bte">(t, wo) }""",
    ),
    Graph(
        name="einsum_with_an_ellipsis",
        groups=(6, 7),
        text="""(float[N,5,4] x) => (float[N,5,3] y) <float[4,6] w0, float[6,7] w1, float[7,3] w2>
        { a = MatMul(x, w0)  b = Einsum<equation="...c,cd->...d">(a, w1)  r = Relu(b)
          y = Einsum<equation="b...c,cd->b...d">(r, w2) }""",
    ),
    Graph(
        name="einsum_along_a_diagonal_stays",
        groups=(),
        refusals=("an equation that is not followed",),
        text="""(float[N,5,4] x) => (float[N,5] y) <float[4,5] w0>
        { a = MatMul(x, w0)  y = Einsum<equation="bii->bi">(a) }""",
    ),
    Graph(
        name="embedded_words",
        groups=(6, 5),
        text="""(int64[N,7] words) => (float[N,7,3] y) <float[9,6] table, float[6,5] w1, float[5,3] w2>
        { e = Gather(table, words)  t = Tanh(e)  a = MatMul(t, w1)  r = Relu(a)  y = MatMul(r, w2) }""",
    ),
    Graph(
        name="lstm_in_both_directions",
        # One hidden size for both directions, read back to front and as last states.
        groups=(4, 5),
        text="""(float[N,7,3] x) => (float[7,N,2] y, float[2,N,2] z)
        <float[3,4] w0, float[2,20,4] w, float[2,20,5] r, float[2,40] b, float[2,15] p, float[10,2] w1,
         float[5,2] w2, int64[3] flat = {0, 0, 10}>
        { u = Transpose<perm=[1,0,2]>(x)  e = MatMul(u, w0)
          a, h, c = LSTM<direction="bidirectional", hidden_size=5>(e, w, r, b, , , , p)
          t = Transpose<perm=[0,2,1,3]>(a)  f = Reshape(t, flat)  y = MatMul(f, w1)
          s = Add(h, c)  z = MatMul(s, w2) }""",
    ),
    Graph(
        name="gru_with_stored_initial_state",
        groups=(5,),
        text="""(float[3,3,3] x) => (float[3,3,2] y)
        <float[1,15,3] w, float[1,15,5] r, float[1,30] b, float[1,3,5] start, float[5,2] w1,
         int64[1] one = {1}>
        { a, h = GRU<hidden_size=5, linear_before_reset=1>(x, w, r, b, , start)  s = Squeeze(a, one)
          y = MatMul(s, w1) }""",
    ),
    Graph(
        name="recurrent_layers_in_a_row",
        groups=(6, 5),
        text="""(float[N,7,3] x) => (float[7,N,2] y)
        <float[1,6,3] w, float[1,6,6] r, float[1,15,6] v, float[1,15,5] s, float[5,2] w1, int64[1] one = {1}>
        { u = Transpose<perm=[1,0,2]>(x)  a = RNN<hidden_size=6>(u, w, r)  b = Squeeze(a, one)
          c = GRU<hidden_size=5>(b, v, s)
          d = Squeeze(c, one)  y = MatMul(d, w1) }""",
    ),
    Graph(
        name="recurrent_state_from_outside_stays",
        groups=(),
        refusals=("a weight or initial state is computed",),
        text="""(float[N,7,3] x, float[N,1,5] start) => (float[7,N,2] y)
        <float[1,5,3] w, float[1,5,5] r, float[5,2] w1, float[3,3] w0, int64[1] one = {1}>
        { u = Transpose<perm=[1,0,2]>(x)  e = MatMul(u, w0)  v = Transpose<perm=[1,0,2]>(start)
          a, h = RNN<hidden_size=5>(e, w, r, , , v)  s = Squeeze(a, one)
          y = MatMul(s, w1) }""",
    ),
    Graph(
        name="group_normalization_loses_whole_groups",
        opset=21,
        groups=(3, 2),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[6,3,1,1] w0, float[6] g, float[6] b, float[8,6,1,1] w1, float[8] h, float[8] c,
         float[2,8,1,1] w2>
        { p = Conv(x, w0)  n = GroupNormalization<num_groups=3>(p, g, b)  r = Relu(n)  q = Conv(r, w1)
          m = GroupNormalization<num_groups=2>(q, h, c)  y = Conv(m, w2) }""",
    ),
    Graph(
        name="resize_to_computed_sizes",
        groups=(4,),
        text="""(float[N,3,4,4] x) => (float[N,2,8,8] y)
        <float[4,3,1,1] w0, float[2,4,1,1] w2, int64[1] zero = {0}, int64[1] two = {2},
         int64[2] size = {8, 8}>
        { p = Conv(x, w0)  r = Relu(p)  s = Shape(r)  h = Slice(s, zero, two)  t = Concat<axis=0>(h, size)
          u = Resize<mode="nearest">(r, , , t)  y = Conv(u, w2) }""",
    ),
    Graph(
        name="fused_by_onnx_runtime",
        # Its optimiser's operators: hidden units go, the normalised stream stays.
        groups=(6, 5, 7),
        refusals=("whose width cannot change", "normalises over the channels"),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,6] w1, float[6] b1, float[6,5] w2, float[5] b2, float[7,5] w3, float[7,4] w4, float[4] g,
         float[4] b, float[4,3] w5>
        { a = MatMul(x, w1)  c = com.microsoft.BiasGelu(a, b1)
          d = com.microsoft.FusedMatMul<alpha=0.5>(c, w2)  e = com.microsoft.FastGelu(d, b2)
          f = com.microsoft.FusedMatMul<transB=1>(e, w3)  h = com.microsoft.QuickGelu(f)
          i = MatMul(h, w4)  n, m, v, s = com.microsoft.SkipLayerNormalization(i, x, g, b)
          k = Add(n, s)  l = com.microsoft.Gelu(k)  y = MatMul(l, w5) }""",
    ),
    Graph(
        name="fused_product_of_transposed_factors_stays",
        groups=(),
        refusals=("a product of transposed factors",),
        text="""(float[N,5,4] x) => (float[N,6,3] y) <float[4,6] w, float[5,3] v>
        { a = MatMul(x, w)  y = com.microsoft.FusedMatMul<transA=1>(a, v) }""",
    ),
    Graph(
        name="fused_products_of_transposed_factors",
        # Both factors computed: a gram matrix of tokens, then one of features.
        groups=(6, 7),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,6] wq, float[4,6] wk, float[4,7] wv, float[7,3] wo>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          s = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(q, k)  p = Softmax<axis=-1>(s)
          o = com.microsoft.FusedMatMul<transA=1>(p, v)  y = MatMul(o, wo) }""",
    ),
    Graph(
        name="fused_convolutions",
        groups=(5, 4, 6, 7),
        text="""(float[N,3,6,6] x) => (float[N,2] y)
        <float[5,3,3,3] w1, float[5] b1, float[4,5,1,1] w2, float[5,4,3,3] w3, float[5] b3,
         float[6,5,1,1] w4, float[6,1,3,3] w5, float[6] b5, float[6,7] w6, float[7] b6, float[7,2] w7>
        { a = com.microsoft.FusedConv<activation="Relu">(x, w1, b1)
          b = com.microsoft.FusedConv<activation="Relu">(a, w2)
          c = com.microsoft.FusedConv<activation="Relu", pads=[1,1,1,1]>(b, w3, b3, a)
          d = Conv(c, w4)  e = com.microsoft.FusedConv<activation="Sigmoid", group=6>(d, w5, b5)
          g = GlobalAveragePool(e)  f = Flatten(g)
          h = com.microsoft.FusedGemm<activation="Relu">(f, w6, b6)  y = Gemm(h, w7) }""",
    ),
    Graph(
        name="fused_convolution_plus_its_input_stays",
        groups=(),
        refusals=("whose width cannot change",),
        text="""(float[N,3,6,6] x) => (float[N,2,6,6] y) <float[3,3,1,1] w1, float[3] b1, float[2,3,1,1] w2>
        { a = com.microsoft.FusedConv<activation="Relu">(x, w1, b1, x)  y = Conv(a, w2) }""",
    ),
    Graph(
        name="attention_with_its_own_projection",
        groups=(6, 3),
        text="""(float[N,5,4] x) => (float[N,5,3] y)
        <float[4,6] w0, float[6,36] w, float[36] b, float[1,3,5,5] near, float[12,3] wo>
        { a = MatMul(x, w0)  h = com.microsoft.Attention<num_heads=3>(a, w, b, , , near)
          y = MatMul(h, wo) }""",
    ),
    Graph(
        name="attention_with_its_own_widths",
        groups=(2,),
        text="""(float[N,5,4] x) => (float[N,5,3] y) <float[4,22] w, float[22] b, float[6,3] wo>
        { h = com.microsoft.Attention<num_heads=2, unidirectional=1, qkv_hidden_sizes=[8,8,6]>(x, w, b)
          y = MatMul(h, wo) }""",
    ),
    Graph(
        name="attention_that_keeps_a_cache_stays",
        groups=(6,),
        refusals=("it keeps a cache",),
        text="""(float[N,5,4] x) => (float[N,5,3] y, float[2,N,2,5,3] now)
        <float[4,6] w0, float[6,18] w, float[18] b, float[6,3] wo>
        { a = MatMul(x, w0)  h, now = com.microsoft.Attention<num_heads=2>(a, w, b)  y = MatMul(h, wo) }""",
    ),
    Graph(
        name="attention_operator_that_keeps_a_cache_stays",
        opset=23,
        groups=(),
        refusals=("it keeps a cache",),
        text="""(float[N,5,4] x) => (float[N,5,4] y, float[N,2,5,3] now)
        <float[4,6] wq, float[4,6] wk, float[4,6] wv, float[6,4] wo>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          a, now, old = Attention<q_num_heads=2, kv_num_heads=2>(q, k, v)  y = MatMul(a, wo) }""",
    ),
    Graph(
        name="multi_head_attention",
        groups=(3, 20, 4),
        refusals=(
            "whose width cannot change",
            "normalises over the channels",
            "normalises over the channels",
        ),
        text="""(float[N,5,8] x, int32[N,5] seen) => (float[N,5,3] y)
        <float[8,12] wq, float[8,12] wk, float[8,15] wv, float[39] b, float[1,3,5,5] near, float[15,8] wo,
         float[8] g1, float[8] b1, float[8] bo, float[8,20] w1, float[20] bias1, float[20,8] w2,
         float[8] g2, float[8] b2, float[8,12] wq2, float[8,12] wk2, float[8,12] wv2, float[12,3] w3>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          h = com.microsoft.MultiHeadAttention<num_heads=3>(q, k, v, b, seen, near)
          o = MatMul(h, wo)  n, m, i, s = com.microsoft.SkipLayerNormalization(o, x, g1, b1, bo)
          u = MatMul(n, w1)  t = com.microsoft.BiasGelu(u, bias1)  d = MatMul(t, w2)
          l = com.microsoft.SkipLayerNormalization(d, s, g2, b2)
          q2 = MatMul(l, wq2)  k2 = MatMul(l, wk2)  v2 = MatMul(l, wv2)
          h2 = com.microsoft.MultiHeadAttention<num_heads=4, unidirectional=1>(q2, k2, v2)
          y = MatMul(h2, w3) }""",
    ),
    Graph(
        name="multi_head_attention_of_keys_by_heads",
        groups=(3,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,12] wq, float[4,12] wk, float[4,12] wv, float[12,4] wo, int64[4] apart = {0, 0, 3, 4},
         float[1,5,1] scale>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          kr = Reshape(k, apart)  kt = Transpose<perm=[0,2,1,3]>(kr)
          vr = Reshape(v, apart)  vt = Transpose<perm=[0,2,1,3]>(vr)
          h = com.microsoft.MultiHeadAttention<num_heads=3>(q, kt, vt)  z = Mul(h, scale)
          y = MatMul(z, wo) }""",
    ),
    Graph(
        name="grouped_attention_with_rotary_positions",
        groups=(2,),
        text="""(float[2,4,6] x, int32[2] last, int64[2,4] places) => (float[2,4,3] y)
        <float[6,64] wq, float[6,32] wk, float[6,32] wv, float[64,3] wo, float[8,8] c, float[8,8] s,
         int32 total = {4}>
        { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          qp = com.microsoft.RotaryEmbedding<num_heads=4>(q, places, c, s)
          kp = com.microsoft.RotaryEmbedding(k, places, c, s)
          h, pk, pv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>
            (qp, kp, v, , , last, total)
          y = MatMul(h, wo) }""",
    ),
    Graph(
        name="grouped_attention_of_one_product",
        groups=(2,),
        text="""(float[2,4,6] x, int32[2] last) => (float[2,4,3] y)
        <float[6,128] w, float[64,3] wo, float[8,8] c, float[8,8] s, int32 total = {4}>
        { q = MatMul(x, w)
          h, pk, pv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2, do_rotary=1>
            (q, , , , , last, total, c, s)
          y = MatMul(h, wo) }""",
    ),
    Graph(
        name="embedded_and_normalised_words_stay",
        groups=(10,),
        refusals=("normalises over the channels", "normalises over the channels"),
        text="""(int32[N,5] t, int32[N,5] k) => (float[N,5,3] y)
        <float[7,8] words, float[6,8] places, float[4,8] kinds, float[8] g, float[8] b,
         float[8,10] w1, float[10,8] w2, float[8] g2, float[8] b2, float[8,3] w3>
        { e, m = com.microsoft.EmbedLayerNormalization(t, k, words, places, kinds, g, b)
          u = MatMul(e, w1)  a = com.microsoft.FastGelu(u)  d = MatMul(a, w2)
          n = com.microsoft.SkipLayerNormalization(d, e, g2, b2)  y = MatMul(n, w3) }""",
    ),
    Graph(
        name="heads_counted_from_a_width",
        # The batch is merged with the heads, and the number of both computed.
        groups=(3,),
        text="""(float[N,5,4] x) => (float[N,5,4] y)
        <float[4,6] wq, float[4,6] wk, float[4,6] wv, float[6,4] wo, int64[1] zero = {0}, int64[1] one = {1},
         int64[1] heads = {3}, int64[1] size = {2}, int64[1] five = {5}, int64[1] minus = {-1},
         int64[4] apart = {-1, 3, 5, 2}, int64[3] flat = {0, 0, 6}>
        { s = Shape(x)  n = Slice(s, zero, one)  m = Mul(n, heads)  t = Concat<axis=0>(five, m, size)
          q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
          qb = Transpose<perm=[1,0,2]>(q)  kb = Transpose<perm=[1,0,2]>(k)  vb = Transpose<perm=[1,0,2]>(v)
          qr = Reshape(qb, t)  kr = Reshape(kb, t)  vr = Reshape(vb, t)
          qt = Transpose<perm=[1,0,2]>(qr)  kt = Transpose<perm=[1,2,0]>(kr)  vt = Transpose<perm=[1,0,2]>(vr)
          z = MatMul(qt, kt)  p = Softmax<axis=-1>(z)  o = MatMul(p, vt)  r = Reshape(o, apart)
          ot = Transpose<perm=[0,2,1,3]>(r)  f = Reshape(ot, flat)  y = MatMul(f, wo) }""",
    ),
    Graph(
        name="sum_over_channels",
        groups=(4, 3),
        text="""(float[N,3,8,8] x) => (float[N,1,8,8] y, float[N,1,8,8] z)
        <float[4,3,1,1] w0, float[3,3,1,1] w1, int64[1] one = {1}>
        { p = Conv(x, w0)  r = Sigmoid(p)  y = ReduceSum(r, one)
          q = Conv(x, w1)  z = ReduceL2<axes=[1]>(q) }""",
    ),
    Graph(
        name="statistics_over_channels_stay",
        groups=(3,),
        refusals=("ReduceMax over the channels", "a position along the channels"),
        text="""(float[N,3,8,8] x) => (float[N,1,8,8] y, int64[N,1,8,8] i, float[N,2,8,8] z)
        <float[4,3,1,1] w0, float[5,3,1,1] w1, float[3,3,1,1] w2, float[2,3,1,1] w3>
        { p = Conv(x, w0)  y = ReduceMax<axes=[1]>(p)  q = Conv(x, w1)  i = ArgMax<axis=1>(q)
          r = Conv(x, w2)  s = Relu(r)  z = Conv(s, w3) }""",
    ),
    Graph(
        name="operator_without_a_rule_stays",
        groups=(3,),
        refusals=("no rule follows channels through DepthToSpace",),
        text="""(float[N,3,4,4] x) => (float[N,2,8,8] y)
        <float[8,3,1,1] w0, float[3,2,1,1] w1, float[2,3,1,1] w2>
        { p = Conv(x, w0)  d = DepthToSpace<blocksize=2>(p)  q = Conv(d, w1)  r = Relu(q)
          y = Conv(r, w2) }""",
    ),
    Graph(
        name="picked_channels_stay",
        groups=(3,),
        refusals=("picks channels by index",),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, int64[4] order = {2, 0, 3, 1}, float[3,4,1,1] w1, float[2,3,1,1] w2>
        { p = Conv(x, w0)  d = Gather<axis=1>(p, order)  q = Conv(d, w1)  r = Relu(q)  y = Conv(r, w2) }""",
    ),
    Graph(
        name="channel_slices",
        groups=(2, 3),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y, float[N,2,4,4] z)
        <float[5,3,1,1] w0, float[2,2,1,1] w1, float[2,3,1,1] w2,
         int64[1] zero = {0}, int64[1] two = {2}, int64[1] minus = {-3}, int64[1] end = {5},
         int64[1] one = {1}>
        { p = Conv(x, w0)  a = Slice(p, zero, two, one)  b = Slice(p, minus, end, one)
          y = Conv(a, w1)  z = Conv(b, w2) }""",
    ),
    Graph(
        name="mask_of_another_width_stays",
        groups=(3,),
        refusals=("whose width cannot change",),
        text="""(float[N,4,4,4] x) => (float[N,2,4,4] y)
        <float[4,4,1,1] w0, float[3,4,1,1] w1, float[2,3,1,1] w2>
        { p = Conv(x, w0)  s = Add(p, x)  q = Conv(s, w1)  r = Relu(q)  y = Conv(r, w2) }""",
    ),
    Graph(
        name="expanded_and_squeezed",
        groups=(4,),
        text="""(float[N,3,4,4] x) => (float[N,2] y)
        <float[4,3,1,1] w0, float[2,4] w1, int64[4] target = {1, 4, 2, 2}, int64[2] spatial = {2, 3}>
        { p = Conv(x, w0)  g = GlobalAveragePool(p)  e = Expand(g, target)  m = GlobalMaxPool(e)
          s = Squeeze(m, spatial)  y = Gemm<transB=1>(s, w1) }""",
    ),
    Graph(
        name="selected_by_a_condition",
        groups=(4,),
        text="""(float[N,3,4,4] x) => (float[N,2,4,4] y)
        <float[4,3,1,1] w0, float[4,1,1] high, float[2,4,1,1] w1>
        { p = Conv(x, w0)  c = Greater(p, high)  n = Neg(p)  s = Where(c, p, n)  y = Conv(s, w1) }""",
    ),
)

CASES = {graph.name: graph for graph in GRAPHS}
