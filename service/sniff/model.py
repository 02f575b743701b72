"""Is a file a complete ``ModelProto``, or a zip bundle of one and its weights?

The outermost protobuf level must add up to the file's size. One level deeper, no initializer may
lie in another file: such a model has to come as a bundle.

Spec: https://protobuf.dev/programming-guides/encoding and ``onnx.proto`` (message ModelProto).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from service.sniff import magic
from service.sniff.archive import require_small_directory
from sosp_core.errors import BundleUnreadable, DataUnreadable, ExternalDataMissing, ModelNotOnnx
from sosp_core.ir.bundle import Bundle, is_bundle

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
# Fields of GraphProto, TensorProto and StringStringEntryProto.
INITIALIZER, NAME, EXTERNAL_DATA, LOCATION, KEY, VALUE = 5, 8, 13, 14, 1, 2
EXTERNAL = 1
MOST_GRAPH_FIELDS = 1_000_000
LONGEST_TEXT = 4096
#: What a bundle may unpack to; the job that reads it has the same limit.
MOST_UNPACKED = 2**35


def check_model(path: Path) -> str:
    """Return ``"onnx"`` if ``path`` holds one whole ONNX model, ``"zip"`` if a bundle of one and its weights.

    Raises:
        ModelNotOnnx: With what the file seems to be instead, or where it ends too early.
        ExternalDataMissing: A weight lies in a file that did not come along.
        BundleUnreadable: The archive is broken, unsafe, too large, or holds not one model.
    """
    size = path.stat().st_size
    if size == 0:
        raise ModelNotOnnx(reason="the file is empty")
    with path.open("rb") as file:
        head = file.read(magic.HEAD)
        if is_bundle(head):
            _check_bundle(path, file)
            return "zip"
        if (other := magic.name_of(head)) is not None:
            raise ModelNotOnnx(reason=f"the file is {other}")
        file.seek(0)
        seen = {}
        for field in _fields(file, size, WIRE_TYPES, MOST_FIELDS):
            seen[field.number] = field
        if IR_VERSION not in seen:
            raise ModelNotOnnx(reason="there is no ir_version")
        if GRAPH not in seen:
            raise ModelNotOnnx(reason="there is no graph")
        _require_weights_inside(file, seen[GRAPH])
    return "onnx"


def _check_bundle(path: Path, file: BinaryIO) -> None:
    try:
        require_small_directory(file)
    except DataUnreadable as error:
        raise BundleUnreadable(reason=error.reason) from error
    _require_no_checkpoint(file)
    Bundle(path, unpacked_bytes=MOST_UNPACKED)


def _require_no_checkpoint(file: BinaryIO) -> None:
    """``torch.save`` writes zip archives, too."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        if any(name.endswith("/data.pkl") for name in archive.namelist()):
            raise ModelNotOnnx(reason="the file is a PyTorch checkpoint; export the network to ONNX first")


class _Field(NamedTuple):
    """One field of a message: its number, and where its content lies."""

    number: int
    start: int
    end: int


def _require_weights_inside(file: BinaryIO, graph: _Field) -> None:
    """Look at the initializers only; a constant of a node that lies outside is found by the job."""
    file.seek(graph.start)
    for tensor in _fields(file, graph.end, {INITIALIZER: LENGTH}, MOST_GRAPH_FIELDS):
        if tensor.number != INITIALIZER:
            continue
        file.seek(tensor.start)
        fields = list(_fields(file, tensor.end, {LOCATION: VARINT}, MOST_FIELDS))
        told = {field.number: field for field in fields}
        if LOCATION in told and _number(file, told[LOCATION]) == EXTERNAL:
            entries = [field for field in fields if field.number == EXTERNAL_DATA]
            raise ExternalDataMissing(
                tensor=_text(file, told.get(NAME)),
                path=next(filter(None, (_location(file, entry) for entry in entries)), ""),
                reason="upload a .zip of the model and its data files, or save the model as one file",
            )
        file.seek(tensor.end)


def _location(file: BinaryIO, entry: _Field) -> str:
    """The path in an entry of ``external_data``, or nothing if it tells something else."""
    file.seek(entry.start)
    parts = {field.number: field for field in _fields(file, entry.end, {}, MOST_FIELDS)}
    return _text(file, parts.get(VALUE)) if _text(file, parts.get(KEY)) == "location" else ""


def _number(file: BinaryIO, field: _Field) -> int:
    file.seek(field.start)
    return _varint(file)


def _text(file: BinaryIO, field: _Field | None) -> str:
    if field is None:
        return ""
    file.seek(field.start)
    return file.read(min(field.end - field.start, LONGEST_TEXT)).decode("utf-8", "replace")


def _fields(file: BinaryIO, end: int, wire_types: Mapping[int, int], most: int) -> Iterator[_Field]:
    """The fields of the message that ends at ``end``, each skipped over."""
    for _ in range(most):
        if (start := file.tell()) == end:
            return
        number, wire_type = divmod(_varint(file), 8)
        if number == 0 or wire_types.get(number, wire_type) != wire_type:
            raise ModelNotOnnx(reason=f"byte {start} does not begin a field of a model")
        field = _Field(number, *_skip(file, wire_type, end))
        yield field
        file.seek(field.end)
    raise ModelNotOnnx(reason=f"there are more than {most} fields in one message")


def _skip(file: BinaryIO, wire_type: int, end: int) -> tuple[int, int]:
    """Where the content of a field begins and ends."""
    start = file.tell()
    match wire_type:
        case 0:
            _varint(file)
            return start, file.tell()
        case 1:
            length = 8
        case 2:
            length = _varint(file)
            start = file.tell()
        case 5:
            length = 4
        case _:
            raise ModelNotOnnx(reason=f"byte {start - 1} does not begin a field of a model")
    left = end - start
    if length > left:
        raise ModelNotOnnx(reason=f"the file is truncated: a field of {length} bytes, {left} left")
    return start, start + length


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
