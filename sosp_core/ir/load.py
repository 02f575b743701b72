"""Bytes to a checked ONNX model, with limits.

The order matters: cheap structural limits come first, because the ONNX checker and shape
inference do not terminate in useful time on some small files (nested functions that expand
exponentially), and accept many models that no runtime can run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from sosp_core.errors import ModelInvalid, ModelNotOnnx, ModelTooLarge, UnsupportedModel
from sosp_core.ir import wire
from sosp_core.ir.bundle import Bundle, is_bundle
from sosp_core.ir.external import Archive, Beside, Folder, Nowhere, attach, detach
from sosp_core.ir.hollow import give_weights, take_weights
from sosp_core.ir.kinds import require_supported
from sosp_core.ir.opset import raise_opset, set_aside
from sosp_core.ir.sparse import densify

STANDARD_DOMAINS = {"", "ai.onnx"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model file may hold before anything expensive looks at it.

    Attributes:
        file_bytes: Of the model itself.
        unpacked_bytes: Of all weights in external files, and of all files in a bundle.
        port_elements: Of one sample of an input or output, free dimensions counted as 1.
        dense_elements: Of a sparse initializer, once its zeros are written out.
    """

    file_bytes: int = 2**31 - 1  # protobuf's own limit for one message
    unpacked_bytes: int = 2**35
    nodes: int = 100_000
    tensors: int = 200_000
    function_depth: int = 16
    tensor_elements: int = 2**31
    port_elements: int = 2**28
    dense_elements: int = 2**28


def load_model(source: Path | bytes, limits: Limits = Limits()) -> ir.Model:
    """Read, check and return an ONNX model of a kind that can be compressed.

    Args:
        source: A file, or its content: one ONNX model, or a zip bundle of a model and the files
            its weights lie in. External weights are found beside a file and inside a bundle.
        limits: Refuse more than this.

    Raises:
        ModelNotOnnx: The bytes are empty, truncated, or something else.
        ModelTooLarge: A limit is exceeded.
        ModelInvalid: The ONNX checker or shape inference rejects the model.
        BundleUnreadable: A zip archive is broken, unsafe, too large, or holds not one model.
        ExternalDataMissing: An external file is missing or too short, or the model came as bytes.
        ExternalDataUnsafe: A weight points to a file that is not plainly beside the model.
        ModelQuantized: The model computes with quantised numbers.
        UnsupportedModel: It is of another kind that is not handled.
    """
    model = read_model(source, limits)
    require_supported(model)
    return model


def read_model(source: Path | bytes, limits: Limits = Limits()) -> ir.Model:
    """As ``load_model``, but of whatever kind: for looking at, not for compressing."""
    proto, beside = _open(source, limits)
    _check_structure(proto, limits)
    _free_negative_dimensions(proto)
    references = detach(proto, limits.unpacked_bytes)
    densify(proto, limits.dense_elements)
    weights = take_weights(proto)
    opset = set_aside(proto)
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelInvalid(reason=_first_line(error)) from error
    attach(references, beside)
    weights |= take_weights(proto)
    del references
    proto = _moved(proto)
    try:
        model = give_weights(ir.serde.deserialize_model(proto), weights)
    # NotImplementedError: element types and attributes that onnx-ir does not know.
    except (ir.serde.SerdeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise ModelInvalid(reason=_first_line(error.__cause__ or error)) from error
    return raise_opset(model, opset) if opset else model


def _moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy: a message frees nothing of what was taken out of it until all of it goes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def _open(source: Path | bytes, limits: Limits) -> tuple[onnx.ModelProto, Beside]:
    """The message, and where to look for what it refers to; the file's content is let go."""
    if isinstance(source, bytes):
        head, size = source[:4], len(source)
    else:
        size = source.stat().st_size
        with source.open("rb") as file:
            head = file.read(4)
    if is_bundle(head):
        bundle = Bundle(source, unpacked_bytes=limits.unpacked_bytes)
        return _parse(_limited(bundle.model(), limits)), Archive(bundle)
    if size > limits.file_bytes:
        raise ModelTooLarge(quantity="bytes", got=size, limit=limits.file_bytes)
    if isinstance(source, bytes):
        return _parse(source), Nowhere()
    return _parse(source.read_bytes()), Folder(source.parent)


def _limited(content: bytes, limits: Limits) -> bytes:
    if len(content) > limits.file_bytes:
        raise ModelTooLarge(quantity="bytes", got=len(content), limit=limits.file_bytes)
    return content


def _parse(content: bytes) -> onnx.ModelProto:
    if not content:
        raise ModelNotOnnx(reason="the file is empty")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelNotOnnx(
            reason="the bytes do not parse as an ONNX protobuf (truncated, or another format)"
        ) from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelNotOnnx(reason="it has no graph with nodes")
    if proto.ir_version < 3 or not proto.opset_import:
        raise ModelNotOnnx(reason=f"IR version {proto.ir_version} or opset imports are missing or too old")
    return proto


def _check_structure(proto: onnx.ModelProto, limits: Limits) -> None:
    if proto.functions:
        _check_functions(proto, limits)
    n_nodes = sum(1 for _ in wire.nodes(proto))
    if n_nodes > limits.nodes:
        raise ModelTooLarge(quantity="nodes", got=n_nodes, limit=limits.nodes)
    for node in wire.nodes(proto):
        _check_texts(node)
    n_tensors = 0
    for tensor in wire.tensors(proto):
        n_tensors += 1
        _check_tensor(tensor, limits)
    if n_tensors > limits.tensors:
        raise ModelTooLarge(quantity="tensors", got=n_tensors, limit=limits.tensors)
    if not proto.graph.input or not proto.graph.output:
        raise ModelInvalid(reason="the graph needs at least one input and one output")
    for port in (*proto.graph.input, *proto.graph.output):
        _check_port(port, limits)


def _free_negative_dimensions(proto: onnx.ModelProto) -> None:
    """Older exporters wrote -1 where a dimension is free; ONNX leaves it out."""
    for port in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in port.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")


def _check_texts(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        try:
            for text in (attribute.s, *attribute.strings):
                text.decode()
        except UnicodeDecodeError as error:
            raise ModelInvalid(
                reason=f"attribute {attribute.name!r} is no UTF-8 text", node=node.name
            ) from error


def _check_tensor(tensor: onnx.TensorProto, limits: Limits) -> None:
    if any(dim < 0 for dim in tensor.dims):
        raise ModelInvalid(
            reason=f"initializer {tensor.name!r} has the negative dimension {min(tensor.dims)}"
        )
    if (declared := wire.elements(tensor)) > limits.tensor_elements:
        raise ModelTooLarge(
            quantity=f"elements in {tensor.name!r}", got=declared, limit=limits.tensor_elements
        )
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    if not (external or wire.holds_what_it_declares(tensor)):
        raise ModelInvalid(
            reason=f"tensor {tensor.name!r} does not hold the {declared:,} values of its shape"
        )


def _check_port(port: onnx.ValueInfoProto, limits: Limits) -> None:
    if port.type.HasField("map_type") or port.type.sequence_type.elem_type.HasField("map_type"):
        raise UnsupportedModel(
            reason=f"{port.name!r} is a map of class names; export the classifier without ZipMap"
        )
    declared = 1
    for dim in port.type.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            declared *= max(dim.dim_value, 1)
    if declared > limits.port_elements:
        raise ModelTooLarge(quantity=f"elements in {port.name!r}", got=declared, limit=limits.port_elements)


def _check_functions(proto: onnx.ModelProto, limits: Limits) -> None:
    """Refuse recursion and expansions beyond the node limit, before anything inlines them."""
    bodies = {(f.domain, f.name): f for f in proto.functions}
    expanded: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], depth: int) -> int:
        if depth > limits.function_depth:
            raise ModelInvalid(reason=f"functions call each other deeper than {limits.function_depth} levels")
        if key not in expanded:
            body = bodies[key].node
            calls = ((n.domain, n.op_type) for n in body)
            expanded[key] = sum(size(c, depth + 1) if c in bodies else 1 for c in calls)
        return expanded[key]

    total = sum(size((n.domain, n.op_type), 0) for n in proto.graph.node if (n.domain, n.op_type) in bodies)
    if total > limits.nodes:
        raise ModelTooLarge(quantity="nodes after inlining functions", got=total, limit=limits.nodes)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
