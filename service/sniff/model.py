"""Is a file a complete ``ModelProto``? The outermost protobuf level must add up to the file's size.

Spec: https://protobuf.dev/programming-guides/encoding and ``onnx.proto`` (message ModelProto).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from service.sniff import magic
from sosp_core.errors import ModelNotOnnx

VARINT, LENGTH = 0, 2
IR_VERSION, GRAPH = 1, 7
WIRE_TYPES: Mapping[int, int] = {
    IR_VERSION: VARINT,
    2: LENGTH,  # producer_name
    3: LENGTH,  # producer_version
    4: LENGTH,  # domain
    5: VARINT,  # model_version
    6: LENGTH,  # doc_string
    GRAPH: LENGTH,
    8: LENGTH,  # opset_import
    14: LENGTH,  # metadata_props
    20: LENGTH,  # training_info
    25: LENGTH,  # functions
    26: LENGTH,  # configuration
}
# A real model has a handful of fields out here, and one for each function and metadata entry.
MOST_FIELDS = 100_000


def check_model(path: Path) -> str:
    """Return ``"onnx"`` if ``path`` holds one whole ONNX model.

    Raises:
        ModelNotOnnx: With what the file seems to be instead, or where it ends too early.
    """
    size = path.stat().st_size
    if size == 0:
        raise ModelNotOnnx(reason="the file is empty")
    with path.open("rb") as file:
        if (other := magic.name_of(file.read(magic.HEAD))) is not None:
            raise ModelNotOnnx(reason=f"the file is {other}")
        file.seek(0)
        seen = set(_fields(file, size))
    if IR_VERSION not in seen:
        raise ModelNotOnnx(reason="there is no ir_version")
    if GRAPH not in seen:
        raise ModelNotOnnx(reason="there is no graph")
    return "onnx"


def _fields(file: BinaryIO, size: int) -> Iterator[int]:
    """The field numbers of the outermost message, each skipped over."""
    for _ in range(MOST_FIELDS):
        if (start := file.tell()) == size:
            return
        number, wire_type = divmod(_varint(file), 8)
        if number == 0 or WIRE_TYPES.get(number, wire_type) != wire_type:
            raise ModelNotOnnx(reason=f"byte {start} does not begin a field of a model")
        _skip(file, wire_type, size)
        yield number
    raise ModelNotOnnx(reason=f"there are more than {MOST_FIELDS} outermost fields")


def _skip(file: BinaryIO, wire_type: int, size: int) -> None:
    match wire_type:
        case 0:
            _varint(file)
            return
        case 1:
            length = 8
        case 2:
            length = _varint(file)
        case 5:
            length = 4
        case _:
            raise ModelNotOnnx(reason=f"byte {file.tell() - 1} does not begin a field of a model")
    left = size - file.tell()
    if length > left:
        raise ModelNotOnnx(reason=f"the file is truncated: a field of {length} bytes, {left} left")
    file.seek(length, os.SEEK_CUR)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ModelNotOnnx(reason="the file is truncated within a field")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ModelNotOnnx(reason=f"byte {file.tell() - 10} does not begin a number")
