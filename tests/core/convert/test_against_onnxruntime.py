"""Converters against ONNX Runtime where ONNX's node tests are thin: geometry, old opsets, its own domain."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from single_node import as_numpy, evaluate, operator

# Both compute in float32; sums of some hundred terms differ in order only.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def by_onnxruntime(
    op_type: str, arrays: list[np.ndarray | None], opset: int, domain: str, n_outputs: int, **attributes: Any
) -> list[np.ndarray]:
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    outputs = [f"y{i}" for i in range(n_outputs)]
    feeds = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outputs, domain=domain, **attributes)],
        "one_node",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def check(
    op_type: str,
    *arrays: np.ndarray | None,
    opset: int = 22,
    domain: str = "",
    n_outputs: int = 1,
    **attributes: Any,
) -> None:
    expected = by_onnxruntime(op_type, list(arrays), opset, domain, n_outputs, **attributes)
    op = operator(
        op_type, arrays, opset=1 if domain else opset, domain=domain, n_outputs=n_outputs, **attributes
    )
    for got, wanted in zip(evaluate(op, arrays), expected, strict=True):
        np.testing.assert_allclose(as_numpy(got), wanted, **CLOSE)
        assert as_numpy(got).dtype == wanted.dtype


Geometry = tuple[tuple[int, int], tuple[int, int], dict[str, Any]]
GEOMETRY: list[Geometry] = [
    (kernel, stride, padding)
    for kernel, stride in itertools.product([(3, 3), (1, 4), (2, 3)], [(1, 1), (2, 3)])
    for padding in (
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
        {"pads": [0, 0, 0, 0]},
        {"pads": [0, 1, 0, 1]},
        {"pads": [0, 0, 0, 2]},
        {"pads": [0, 2, 0, 1], "dilations": [2, 1]},
    )
]


def geometry_id(case: Geometry) -> str:
    kernel, stride, padding = case
    return f"k{kernel}-s{stride}-{'-'.join(f'{k}{v}' for k, v in padding.items())}".replace(" ", "")


@pytest.mark.parametrize("case", GEOMETRY, ids=geometry_id)
class TestConvolutions:
    x = draw(2, 4, 7, 8)

    def test_conv(self, case: Geometry) -> None:
        kernel, strides, padding = case
        check("Conv", self.x, draw(6, 2, *kernel), draw(6), strides=strides, group=2, **padding)

    def test_conv_transpose(self, case: Geometry) -> None:
        kernel, strides, padding = case
        check("ConvTranspose", self.x, draw(4, 3, *kernel), draw(6), strides=strides, group=2, **padding)


# Left out: where a kernel is smaller than its stride, SAME padding would be negative; ONNX Runtime
# then moves the windows of AveragePool, and of no other operator.
POOLS = [
    (kernel, strides, {**padding, "ceil_mode": ceil_mode})
    for kernel, strides, padding in GEOMETRY
    for ceil_mode in ((0,) if "auto_pad" in padding else (0, 1))
    if "pads" in padding or all(k >= s for k, s in zip(kernel, strides, strict=True))
]


@pytest.mark.parametrize("case", POOLS, ids=geometry_id)
class TestPools:
    x = draw(2, 4, 7, 8)

    def test_max_pool(self, case: Geometry) -> None:
        kernel, strides, padding = case
        check("MaxPool", self.x, kernel_shape=kernel, strides=strides, **padding)

    @pytest.mark.parametrize("count", [0, 1])
    def test_average_pool(self, case: Geometry, count: int) -> None:
        kernel, strides, padding = case
        check("AveragePool", self.x, kernel_shape=kernel, strides=strides, count_include_pad=count, **padding)


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]], ids=str)
def test_places_of_maxima(pads: list[int], storage_order: int) -> None:
    check(
        "MaxPool",
        draw(2, 3, 5, 6),
        n_outputs=2,
        kernel_shape=[3, 2],
        strides=[2, 2],
        pads=pads,
        storage_order=storage_order,
    )


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("shape", [[10, 8], [9, 7], [8, 4]], ids=str)
def test_conv_transpose_to_a_given_shape(shape: list[int], auto_pad: str) -> None:
    x, w, b = draw(1, 2, 3, 3), draw(2, 2, 3, 3), draw(2)
    check("ConvTranspose", x, w, b, strides=[3, 2], output_shape=shape, auto_pad=auto_pad)


TRANSFORMS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
SIZES = [[1, 2, 10, 18], [1, 2, 3, 4], [1, 2, 7, 9], [1, 2, 1, 1]]


# Left out: half_pixel_symmetric hits integers up to rounding, where floor and ceil may go either way.
NEAREST = [
    (transform, rule)
    for transform in TRANSFORMS
    for rule in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if transform != "half_pixel_symmetric" or rule.startswith("round")
]


@pytest.mark.parametrize("size", SIZES, ids=str)
class TestResize:
    x = draw(1, 2, 5, 6)

    @pytest.mark.parametrize(("transform", "rule"), NEAREST)
    def test_nearest(self, transform: str, size: list[int], rule: str) -> None:
        check(
            "Resize",
            self.x,
            None,
            None,
            np.array(size),
            coordinate_transformation_mode=transform,
            nearest_mode=rule,
        )

    @pytest.mark.parametrize("transform", TRANSFORMS)
    @pytest.mark.parametrize("antialias", [0, 1])
    @pytest.mark.parametrize("mode", ["linear", "cubic"])
    def test_interpolation(self, transform: str, size: list[int], mode: str, antialias: int) -> None:
        check(
            "Resize",
            self.x,
            None,
            None,
            np.array(size),
            mode=mode,
            coordinate_transformation_mode=transform,
            antialias=antialias,
        )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 0.6, 1.7]], ids=str)
def test_resize_by_scales_within_a_region(mode: str, scales: list[float]) -> None:
    roi = np.array([0, 0, -0.2, 0.3, 1, 1, 0.7, 1.3], np.float32)
    check(
        "Resize",
        draw(1, 2, 5, 6),
        roi,
        np.array(scales, np.float32),
        opset=13,
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.5,
    )


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_keeps_the_aspect_ratio(policy: str) -> None:
    sizes = np.array([7, 9])
    check(
        "Resize",
        draw(1, 2, 5, 6),
        None,
        None,
        sizes,
        mode="linear",
        axes=[2, 3],
        keep_aspect_ratio_policy=policy,
    )


@pytest.mark.parametrize(("op_type", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_of_old_opsets(op_type: str, opset: int, mode: str) -> None:
    check(op_type, draw(1, 2, 5, 6), np.array([1, 1, 2, 1.5], np.float32), opset=opset, mode=mode)


ENDS = (-(2**63), -9, -2, 0, 3, 9, 2**63 - 1)


@pytest.mark.parametrize("step", [-3, -1, 1, 2])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", ENDS)
def test_slice_bounds(start: int, end: int, step: int) -> None:
    check("Slice", draw(2, 7), *(np.array([v]) for v in (start, end, 1, step)), opset=13)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[1, 2, 3, 0], [-1, 2, 1, -2], [0, -1, -2, 3]], ids=str)
def test_pad_of_some_axes(mode: str, pads: list[int]) -> None:
    value = np.array(1.5, np.float32) if mode == "constant" else None
    check("Pad", draw(2, 5, 6, 3), np.array(pads), value, np.array([1, -2]), opset=19, mode=mode)


RECURRENT = {"LSTM": (4, 3), "GRU": (3, 2), "RNN": (1, 2)}


@pytest.mark.parametrize("op_type", RECURRENT)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [None, [4, 2]], ids=str)
def test_recurrent(op_type: str, direction: str, lengths: list[int] | None) -> None:
    gates, n_outputs = RECURRENT[op_type]
    n = 2 if direction == "bidirectional" else 1
    weights = draw(n, gates * 5, 3), draw(n, gates * 5, 5), draw(n, 2 * gates * 5)
    lens = None if lengths is None else np.array(lengths, np.int32)
    states = [draw(n, 2, 5)] * (n_outputs - 1)
    peepholes = [draw(n, 15)] if op_type == "LSTM" else []
    check(
        op_type,
        draw(4, 2, 3),
        *weights,
        lens,
        *states,
        *peepholes,
        opset=14,
        n_outputs=n_outputs,
        hidden_size=5,
        direction=direction,
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_before_and_after_opset_13(op_type: str, opset: int, axis: int) -> None:
    check(op_type, draw(2, 3, 4), opset=opset, axis=axis)


X = draw(3, 4, 5)
IMAGE = draw(2, 4, 5, 6)
OLD: dict[str, dict[str, Any]] = {
    "Clip": {"arrays": [X], "opset": 6, "min": -0.5, "max": 0.5},
    "Dropout": {"arrays": [X], "opset": 7, "ratio": 0.3},
    "Pad": {"arrays": [X], "opset": 2, "pads": [1, 0, 2, 0, 1, 0], "mode": "reflect"},
    "ReduceMean": {"arrays": [X], "opset": 11, "axes": [0, -1], "keepdims": 0},
    "ReduceSum": {"arrays": [X], "opset": 11, "axes": [1]},
    "Slice": {"arrays": [X], "opset": 9, "starts": [1, 0], "ends": [3, -1], "axes": [0, 2]},
    "Split": {"arrays": [X], "opset": 11, "axis": 2, "split": [2, 3], "n_outputs": 2},
    "Squeeze": {"arrays": [draw(1, 3, 1)], "opset": 11, "axes": [2]},
    "TopK": {"arrays": [X], "opset": 9, "k": 2, "n_outputs": 2},
    "Unsqueeze": {"arrays": [X], "opset": 11, "axes": [0, 3]},
    "Upsample": {"arrays": [IMAGE], "opset": 8, "scales": [1.0, 1.0, 2.0, 2.0]},
    "Scatter": {"arrays": [draw(3, 3), np.array([[1, 0, -1]]), draw(1, 3)], "opset": 10},
    "BatchNormalization": {"arrays": [IMAGE, draw(4), draw(4), draw(4), abs(draw(4)) + 0.1], "opset": 8},
}


@pytest.mark.parametrize("op_type", OLD)
def test_attributes_that_later_became_inputs(op_type: str) -> None:
    given = dict(OLD[op_type])
    check(op_type, *given.pop("arrays"), **given)


NONE = np.zeros((0,), np.int64)
EMPTY: dict[str, list[np.ndarray]] = {
    "Concat": [X, draw(0, 4, 5)],
    "Expand": [draw(0, 1), np.array([0, 3])],
    "Gather": [X, NONE],
    "GatherElements": [X, NONE.reshape(0, 4, 5)],
    "GatherND": [X, NONE.reshape(0, 2)],
    "MatMul": [draw(3, 0), draw(0, 4)],
    "ReduceSum": [draw(0, 4), np.array([0])],
    "Reshape": [draw(0, 4), np.array([4, 0])],
    "ScatterElements": [X, NONE.reshape(0, 4, 5), draw(0, 4, 5)],
    "ScatterND": [X, NONE.reshape(0, 1), draw(0, 4, 5)],
    "Slice": [X, np.array([2]), np.array([2])],
    "Softmax": [draw(0, 4)],
    "Tile": [X, np.array([1, 0, 1])],
    "Transpose": [draw(0, 4)],
}


@pytest.mark.parametrize("op_type", EMPTY)
def test_tensors_without_elements(op_type: str) -> None:
    """Exporters write them for windows that are not shifted, and for masks that hide nothing."""
    settings = {"Concat": {"axis": 0}, "Reshape": {"allowzero": 1}}
    check(op_type, *EMPTY[op_type], **settings.get(op_type, {}))


@pytest.mark.parametrize(
    "c", [None, draw(), draw(5), draw(3, 1), draw(3, 5)], ids=lambda c: str(getattr(c, "shape", c))
)
@pytest.mark.parametrize("flips", [(0, 0), (1, 0), (0, 1), (1, 1)], ids=str)
def test_gemm(c: np.ndarray | None, flips: tuple[int, int]) -> None:
    a, b = draw(3, 4), draw(4, 5)
    left, right = a.T.copy() if flips[0] else a, b.T.copy() if flips[1] else b
    rest = [] if c is None else [c]
    check("Gemm", left, right, *rest, transA=flips[0], transB=flips[1], alpha=0.5, beta=2.0)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p: int) -> None:
    check("GlobalLpPool", IMAGE, opset=18, p=p)


def test_simplified_layer_normalization() -> None:
    check("SimplifiedLayerNormalization", X, draw(5), axis=-1, epsilon=1e-3)


FIVE = [draw(5, seed=i) for i in range(3)]
MICROSOFT: dict[str, tuple[str, list[np.ndarray | None], dict[str, Any]]] = {
    "gelu": ("Gelu", [X], {}),
    "bias_gelu": ("BiasGelu", [X, FIVE[0]], {}),
    "fast_gelu": ("FastGelu", [X], {}),
    "fast_gelu_with_bias": ("FastGelu", [X, FIVE[0]], {}),
    "quick_gelu": ("QuickGelu", [X], {"alpha": 1.5}),
    "fused_matmul": ("FusedMatMul", [X, draw(3, 6, 5)], {"alpha": 0.5, "transB": 1}),
    "fused_matmul_left": ("FusedMatMul", [X, draw(3, 4, 6)], {"transA": 1}),
    "fused_conv": (
        "FusedConv",
        [IMAGE, draw(3, 4, 3, 3), draw(3)],
        {"activation": "Relu", "pads": [1, 0, 0, 1]},
    ),
    "fused_conv_clip": (
        "FusedConv",
        [IMAGE, draw(3, 4, 3, 3)],
        {"activation": "Clip", "activation_params": [-0.5, 0.5]},
    ),
    "fused_conv_sum": (
        "FusedConv",
        [IMAGE, draw(3, 4, 1, 1), draw(3), draw(2, 3, 5, 6)],
        {"activation": "Relu"},
    ),
    "fused_gemm": (
        "FusedGemm",
        [draw(3, 4), draw(4, 5), FIVE[0]],
        {"activation": "LeakyRelu", "activation_alpha": 0.1},
    ),
    "skip_layer_normalization": (
        "SkipLayerNormalization",
        [X, draw(3, 4, 5, seed=1), *FIVE],
        {"epsilon": 1e-3},
    ),
    "skip_layer_normalization_bare": ("SkipLayerNormalization", [X, draw(3, 4, 5, seed=1), FIVE[0]], {}),
    "skip_simplified": ("SkipSimplifiedLayerNormalization", [X, draw(3, 4, 5, seed=1), *FIVE[:2]], {}),
}


@pytest.mark.parametrize("name", MICROSOFT)
def test_operators_of_onnxruntime(name: str) -> None:
    op_type, arrays, attributes = MICROSOFT[name]
    check(op_type, *arrays, domain="com.microsoft", **attributes)


B, S, H, D = 2, 4, 3, 6  # samples, tokens, heads, features of a head
TOKENS = draw(B, S, H * D)
LENGTHS = np.array([3, 4], np.int32)
SEEN = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
SEEN_BY_QUERY = np.tril(np.ones((B, S, S), np.int32))
WEIGHTS = draw(H * D, 3 * H * D), draw(3 * H * D)
PAST = draw(2, B, H, 2, D)
ATTENTION: dict[str, tuple[list[np.ndarray | None], int, dict[str, Any]]] = {
    "plain": ([TOKENS, *WEIGHTS], 1, {}),
    "without_bias": ([TOKENS, WEIGHTS[0]], 1, {"scale": 0.3}),
    "causal": ([TOKENS, *WEIGHTS], 1, {"unidirectional": 1}),
    "lengths": ([TOKENS, *WEIGHTS, LENGTHS], 1, {}),
    "mask": ([TOKENS, *WEIGHTS, SEEN], 1, {"mask_filter_value": -3.0}),
    "mask_by_query": ([TOKENS, *WEIGHTS, SEEN_BY_QUERY], 1, {}),
    "bias_of_scores": ([TOKENS, *WEIGHTS, None, None, draw(B, H, S, S)], 1, {}),
    "past": ([TOKENS, *WEIGHTS, None, PAST], 2, {"unidirectional": 1}),
    "widths": (
        [TOKENS, draw(H * D, 2 * H * D + H * 4), draw(2 * H * D + H * 4)],
        1,
        {"qkv_hidden_sizes": [H * D, H * D, H * 4]},
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_onnxruntime(name: str) -> None:
    arrays, n_outputs, attributes = ATTENTION[name]
    check("Attention", *arrays, domain="com.microsoft", n_outputs=n_outputs, num_heads=H, **attributes)


KEYS, VALUES = draw(B, 5, H * D, seed=1), draw(B, 5, H * D, seed=2)
MULTI_HEAD: dict[str, tuple[list[np.ndarray | None], int, dict[str, Any]]] = {
    "plain": ([TOKENS, KEYS, VALUES], 1, {}),
    "bias": ([TOKENS, KEYS, VALUES, draw(3 * H * D)], 1, {"scale": 0.2}),
    "causal": ([TOKENS, TOKENS, TOKENS], 1, {"unidirectional": 1}),
    "keys_by_heads": ([TOKENS, draw(B, H, 5, D), draw(B, H, 5, D, seed=1)], 1, {}),
    "lengths": ([TOKENS, TOKENS, TOKENS, None, LENGTHS], 1, {}),
    "mask": ([TOKENS, TOKENS, TOKENS, None, SEEN], 1, {}),
    "bias_of_scores": ([TOKENS, KEYS, VALUES, None, None, draw(1, H, S, 5)], 1, {}),
    "past": ([TOKENS, TOKENS, TOKENS, None, None, None, PAST[0], PAST[1]], 3, {}),
}


@pytest.mark.parametrize("name", MULTI_HEAD)
def test_multi_head_attention(name: str) -> None:
    arrays, n_outputs, attributes = MULTI_HEAD[name]
    check(
        "MultiHeadAttention", *arrays, domain="com.microsoft", n_outputs=n_outputs, num_heads=H, **attributes
    )


ANGLES = draw(8, 8).clip(-1, 1)  # ONNX Runtime turns heads of 16, 32, … features only
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
LAST, TOTAL = np.array([3, 3], np.int32), np.array(4, np.int32)
QUERIES, FEW = draw(B, 4, 4 * 16), draw(B, 4, 2 * 16, seed=1)
GROUPED: dict[str, tuple[list[np.ndarray | None], dict[str, Any]]] = {
    "plain": ([QUERIES, FEW, FEW + 1, None, None, LAST, TOTAL], {}),
    "packed": ([draw(B, 4, 8 * 16), None, None, None, None, LAST, TOTAL], {"scale": 0.2}),
    "rotary": ([QUERIES, FEW, FEW + 1, None, None, LAST, TOTAL, COS, SIN], {"do_rotary": 1}),
    "interleaved": (
        [QUERIES, FEW, FEW + 1, None, None, LAST, TOTAL, COS, SIN],
        {"do_rotary": 1, "rotary_interleaved": 1},
    ),
    "window": ([QUERIES, FEW, FEW + 1, None, None, LAST, TOTAL], {"local_window_size": 2}),
    "capped": ([QUERIES, FEW, FEW + 1, None, None, LAST, TOTAL], {"softcap": 0.5}),
    "past": (
        [
            QUERIES[:, :1],
            FEW[:, :1],
            FEW[:, :1],
            draw(B, 2, 3, 16),
            draw(B, 2, 3, 16, seed=1),
            LAST,
            TOTAL,
            COS,
            SIN,
        ],
        {"do_rotary": 1},
    ),
}


@pytest.mark.parametrize("name", GROUPED)
def test_group_query_attention(name: str) -> None:
    arrays, attributes = GROUPED[name]
    check(
        *("GroupQueryAttention", *arrays),
        domain="com.microsoft",
        n_outputs=3,
        num_heads=4,
        kv_num_heads=2,
        **attributes,
    )


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize(
    "positions", [np.array([2]), np.array([[0, 1, 2, 3], [4, 3, 2, 1]])], ids=["first", "each"]
)
@pytest.mark.parametrize("axes", [3, 4])
def test_rotary_embedding_of_onnxruntime(axes: int, positions: np.ndarray, interleaved: int) -> None:
    x = QUERIES if axes == 3 else draw(B, 4, 4, 16)
    check(
        *("RotaryEmbedding", x, positions.astype(np.int64), COS, SIN),
        domain="com.microsoft",
        interleaved=interleaved,
    )


def test_rotary_embedding_of_a_part() -> None:
    cos, sin = COS[:, :2], SIN[:, :2]
    arrays = [QUERIES, np.array([0], np.int64), cos, sin]
    check("RotaryEmbedding", *arrays, domain="com.microsoft", num_heads=4, rotary_embedding_dim=4)


@pytest.mark.parametrize("n_outputs", [2, 3])
@pytest.mark.parametrize("given", ["words", "segments", "mask", "places"])
def test_embed_layer_normalization(given: str, n_outputs: int) -> None:
    words, segments = np.array([[1, 2, 3], [4, 0, 1]], np.int32), np.array([[0, 0, 1], [1, 1, 1]], np.int32)
    mask, places = np.array([[1, 1, 0], [1, 1, 1]], np.int32), np.array([[0, 1, 2], [2, 1, 0]], np.int32)
    word_table, place_table, segment_table = draw(6, 8), draw(4, 8), draw(2, 8)
    with_segments = given != "words"
    arrays = [
        *(words, segments if with_segments else None, word_table, place_table),
        *(segment_table if with_segments else None, draw(8), draw(8, seed=1)),
        mask if given in ("mask", "places") else None,
        places if given == "places" else None,
    ]
    check("EmbedLayerNormalization", *arrays, domain="com.microsoft", n_outputs=n_outputs)


ROIS = np.array([[0, 0, 6, 5], [1.3, 2.1, 4.2, 3.9], [-2, -3, 3, 9], [5, 5, 5.2, 5.1]], np.float32)


@pytest.mark.parametrize("opset", [10, 16])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(opset: int, mode: str, ratio: int) -> None:
    check(
        *("RoiAlign", draw(2, 3, 7, 8), ROIS, np.array([0, 1, 1, 0], np.int64)),
        opset=opset,
        mode=mode,
        sampling_ratio=ratio,
        output_height=3,
        output_width=2,
        spatial_scale=0.8,
    )


@pytest.mark.parametrize("masked", [True, False])
def test_deform_conv(masked: bool) -> None:
    x, w, b = draw(2, 4, 6, 7), draw(6, 2, 3, 2), draw(6)
    offset, mask = draw(2, 2 * 2 * 6, 3, 7), draw(2, 2 * 6, 3, 7)
    check(
        *("DeformConv", x, w, offset, b, *([mask] if masked else [])),
        group=2,
        offset_group=2,
        strides=[2, 1],
        pads=[1, 0, 1, 2],
        dilations=[1, 2],
    )


@pytest.mark.parametrize(
    "geometry", [{}, {"strides": [2, 1]}, {"dilations": [1, 2], "pads": [1, 0, 1, 1]}], ids=str
)
def test_col2im(geometry: dict[str, list[int]]) -> None:
    strides, dilations, pads = (
        geometry.get(k, d) for k, d in (("strides", [1, 1]), ("dilations", [1, 1]), ("pads", [0] * 4))
    )
    image, block = [6, 7], [2, 3]
    counts = [
        (image[i] + pads[i] + pads[i + 2] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i in (0, 1)
    ]
    check("Col2Im", draw(2, 3 * 6, counts[0] * counts[1]), np.array(image), np.array(block), **geometry)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("most", [1, 3, 20])
def test_non_max_suppression(most: int, center: int) -> None:
    boxes = np.abs(draw(2, 30, 4)) + np.array([0, 0, 1, 1], np.float32) * (1 - center)
    limits = np.array([most]), np.array([0.4], np.float32), np.array([0.3], np.float32)
    check("NonMaxSuppression", boxes, draw(2, 3, 30), *limits, center_point_box=center)


@pytest.mark.parametrize("in_order", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(axis: int | None, in_order: int) -> None:
    x = np.array([[2, 1, 1], [0, 1, 1], [2, 1, 1]], np.float32)
    attributes = {} if axis is None else {"axis": axis}
    check("Unique", x, n_outputs=4, sorted=in_order, **attributes)


@pytest.mark.parametrize("static", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("shape", [(4,), (4, 3)], ids=str)
def test_gather_by_a_single_index_drops_the_axis(shape: tuple[int, ...], index: int, static: bool) -> None:
    x, at = draw(*shape), np.array(index)
    (got,) = evaluate(operator("Gather", [x, at], static=static), [x, at])
    np.testing.assert_array_equal(as_numpy(got), x[index])
