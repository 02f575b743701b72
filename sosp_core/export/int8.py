"""Post-training quantisation to eight-bit integers by ONNX Runtime's own tool."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from onnxruntime import quantization
from onnxruntime.quantization import QuantFormat, QuantType

from sosp_core.errors import UnsupportedModel
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.runtime.session import Array, to_proto

#: DequantizeLinear knows scales by channel since this opset.
BY_CHANNEL_SINCE = 13
#: What dynamic quantisation is good for; its integer convolutions run slower than the float ones.
DYNAMIC_OPS = ("MatMul", "Gemm", "Attention", "LSTM", "EmbedLayerNormalization")
#: Tells ONNX Runtime's tool that shapes are inferred, which it would otherwise complain about.
PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")

Feeds = dict[str, Array]


def quantise_static(model: ir.Model, feeds: Iterable[Feeds]) -> ir.Model:
    """Weights and activations as eight-bit integers, with scales from the range of real samples.

    Written as QuantizeLinear and DequantizeLinear around ordinary operators; weights have a scale
    for each channel.

    Args:
        model: The float model; not changed.
        feeds: Batches of real inputs by name; each is run once.

    Raises:
        UnsupportedModel: No operator of the model could be quantised.
    """
    prepared, source = _prepared(model), _Feeds(feeds)
    with tempfile.TemporaryDirectory(prefix="sosp-int8-") as place:
        target = Path(place) / "model.onnx"
        quantization.quantize_static(
            prepared,
            target,
            source,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return _quantised(target, "QuantizeLinear")


def quantise_dynamic(model: ir.Model) -> ir.Model:
    """Weights of matrix products as eight-bit integers; activations are quantised as they come.

    Raises:
        UnsupportedModel: The model has no matrix product with constant weights.
    """
    prepared = _prepared(model)
    with tempfile.TemporaryDirectory(prefix="sosp-int8-") as place:
        target = Path(place) / "model.onnx"
        quantization.quantize_dynamic(
            prepared, target, op_types_to_quantize=list(DYNAMIC_OPS), weight_type=QuantType.QInt8
        )
        return _quantised(target, "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "QAttention")


class _Feeds:
    """The batches, one after the other, as ONNX Runtime's ``CalibrationDataReader`` gives them."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        """The next batch, or None at the end."""
        return next(self._feeds, None)


def _prepared(model: ir.Model) -> onnx.ModelProto:
    """As the tool wants it: normalisation folded into weights, shapes inferred, a recent opset."""
    proto = to_proto(fold_batchnorm(model.clone()))
    if model.opset_imports.get("", BY_CHANNEL_SINCE) < BY_CHANNEL_SINCE:
        proto = onnx.version_converter.convert_version(proto, BY_CHANNEL_SINCE)
    proto = onnx.shape_inference.infer_shapes(proto)
    key, value = PREPARED
    proto.metadata_props.add(key=key, value=value)
    return proto


def _quantised(path: Path, *signs: str) -> ir.Model:
    model = ir.load(path)
    for tensor in model.graph.initializers.values():  # out of the file, which is about to go
        if tensor.const_value is not None:
            tensor.const_value = ir.tensor(tensor.const_value.numpy().copy(), name=tensor.name)
    model.metadata_props.pop(PREPARED[0], None)
    if not any(node.op_type in signs for node in model.graph):
        raise UnsupportedModel(reason="none of its operators can be quantised this way")
    return model
