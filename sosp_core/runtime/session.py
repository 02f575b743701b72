"""ONNX Runtime sessions with every option that changes a result or a time set explicitly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from sosp_core.errors import ModelInvalid, ModelTooLarge, UnsupportedModel
from sosp_core.ir import save
from sosp_core.ir.hollow import hollow
from sosp_core.ir.save import weight_bytes

Array = np.ndarray[Any, Any]
CPU = ("CPUExecutionProvider",)
#: What sessions read their weights from has to live as long as they do.
_HELD: WeakKeyDictionary[ort.InferenceSession, list[ort.OrtValue]] = WeakKeyDictionary()


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as one ONNX protobuf message.

    Raises:
        ModelTooLarge: It is larger than such a message can be.
        ModelInvalid: Some attribute or type has no place in it.
    """
    if (size := weight_bytes(model)) >= save.ONE_FILE_BELOW:
        raise ModelTooLarge(quantity="bytes of weights", got=size, limit=save.ONE_FILE_BELOW)
    try:
        return ir.serde.serialize_model(model)
    except ir.serde.SerdeError as error:
        raise ModelInvalid(reason=f"it cannot be written: {_reason(error.__cause__ or error)}") from error


def serialize(model: ir.Model) -> bytes:
    """The model as the bytes of one ONNX protobuf."""
    return bytes(to_proto(model).SerializeToString())


def open_session(
    model: ir.Model | bytes | Path,
    *,
    threads: int = 0,
    providers: Sequence[str] = CPU,
    optimise: bool = True,
    also: Sequence[str] = (),
    profile: str | None = None,
) -> ort.InferenceSession:
    """Open a session on a model.

    Args:
        model: The model, of any size; its content, of which ONNX Runtime refuses any reference to
            external files; or a file, whose weights may lie beside it.
        threads: Intra-op threads; 0 lets ONNX Runtime choose.
        providers: Execution providers, best first.
        optimise: Graph optimisations on; off keeps every tensor of the graph as it is written.
        also: Tensors of a model that the session gives out besides the outputs.
        profile: How the name of a file begins that the time of every kernel goes to.

    Raises:
        ModelInvalid: ONNX Runtime cannot load the model.
        UnsupportedModel: ONNX Runtime has no kernel for some operator in the type it is given.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Spinning threads of two live sessions steal each other's cores and spoil comparisons.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    weights: list[ort.OrtValue] = []
    content: bytes | Path = b"" if isinstance(model, ir.Model) else model
    if isinstance(model, ir.Model):
        content, weights = _hollow(model, options, also)
    try:
        session = ort.InferenceSession(content, options, providers=list(providers))
    # ONNX Runtime's exceptions share no public base class; only its own call is in the ``try``.
    except Exception as error:
        reason = _reason(error)
        if "NOT_IMPLEMENTED" in reason:
            raise UnsupportedModel(reason=f"ONNX Runtime has no kernel for it: {reason}") from error
        raise ModelInvalid(reason=f"ONNX Runtime cannot load it: {reason}") from error
    _HELD[session] = weights
    return session


def _hollow(
    model: ir.Model, options: ort.SessionOptions, also: Sequence[str]
) -> tuple[bytes, list[ort.OrtValue]]:
    """The graph as a message, and the weights that the session reads where they are."""
    try:
        proto, arrays = hollow(model)
    except ir.serde.SerdeError as error:
        raise ModelInvalid(reason=f"it cannot be written: {_reason(error.__cause__ or error)}") from error
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in also)
    weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
    if weights:
        options.add_external_initializers(list(arrays), weights)
    return bytes(proto.SerializeToString()), weights


def run(session: ort.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run a session; the outputs by name.

    Raises:
        ModelInvalid: ONNX Runtime fails on these inputs.
    """
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}
    try:
        outputs = session.run(names, {k: v for k, v in feeds.items() if k in wanted})
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise ModelInvalid(reason=f"ONNX Runtime cannot run it: {_reason(error)}") from error
    return dict(zip(names, outputs, strict=True))


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:500]
