"""ONNX Runtime sessions with every option that changes a result or a time set explicitly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from sosp_core.errors import ModelInvalid, ModelTooLarge, UnsupportedModel
from sosp_core.ir.save import ONE_FILE_BELOW, weight_bytes

Array = np.ndarray[Any, Any]
CPU = ("CPUExecutionProvider",)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as one ONNX protobuf message.

    Raises:
        ModelTooLarge: It is larger than such a message can be.
        ModelInvalid: Some attribute or type has no place in it.
    """
    if (size := weight_bytes(model)) >= ONE_FILE_BELOW:
        raise ModelTooLarge(quantity="bytes of weights", got=size, limit=ONE_FILE_BELOW)
    try:
        return ir.serde.serialize_model(model)
    except ir.serde.SerdeError as error:
        raise ModelInvalid(reason=f"it cannot be written: {_reason(error.__cause__ or error)}") from error


def serialize(model: ir.Model) -> bytes:
    """The model as the bytes of one ONNX protobuf."""
    return bytes(to_proto(model).SerializeToString())


def open_session(
    model: ir.Model | bytes,
    *,
    threads: int = 0,
    providers: Sequence[str] = CPU,
    optimise: bool = True,
    profile: str | None = None,
) -> ort.InferenceSession:
    """Open a session on a model held in memory.

    Args:
        model: The model; bytes make ONNX Runtime refuse any reference to external files.
        threads: Intra-op threads; 0 lets ONNX Runtime choose.
        providers: Execution providers, best first.
        optimise: Graph optimisations on; off keeps every tensor of the graph as it is written.
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
    content = model if isinstance(model, bytes) else serialize(model)
    try:
        return ort.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        reason = _reason(error)
        if "NOT_IMPLEMENTED" in reason:
            raise UnsupportedModel(reason=f"ONNX Runtime has no kernel for it: {reason}") from error
        raise ModelInvalid(reason=f"ONNX Runtime cannot load it: {reason}") from error


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
