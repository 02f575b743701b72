"""A model to files: one below protobuf's limit, else with its weights beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from sosp_core.ir.wire import tensors

#: Protobuf cannot write a message of 2 GiB; the graph itself takes part of that.
ONE_FILE_BELOW = 2**31 - 2**24
#: Weights smaller than this stay in the model file, so that shapes can be inferred without the rest.
SMALL = 1024
#: So small a tensor may be a shape.
TINY = 64


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers of the main graph."""
    held = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in held if tensor is not None)


def save_model(model: ir.Model, path: Path, *, one_file_below: int = ONE_FILE_BELOW) -> list[Path]:
    """Write the model to ``path``; weights of ``one_file_below`` bytes or more go into a second file.

    That file is named as the first with ``.data`` behind it, and lies in the same folder.

    Returns:
        The files written, the model first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if weight_bytes(model) < one_file_below:
        ir.save(model, path)
        return [path]
    data = path.with_name(f"{path.name}.data")
    ir.save(
        model, path, external_data=data.name, size_threshold_bytes=min(SMALL, max(TINY, one_file_below // 4))
    )
    return [path, data]


def rename_weights(path: Path, name: str) -> None:
    """Have a saved model look for its weights under another name, in the same folder."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    path.write_bytes(proto.SerializeToString())
