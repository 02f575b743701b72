"""Weights that lie in files beside the model: found, checked and brought in.

Spec: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

import errno
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

import onnx

from sosp_core.errors import ExternalDataMissing, ExternalDataUnsafe, ModelTooLarge
from sosp_core.ir.bundle import Bundle
from sosp_core.ir.wire import bytes_of, tensors


class Beside(Protocol):
    """Where the files named by a model are looked for."""

    def content(self, tensor: str, path: str) -> memoryview:
        """The content of the file.

        Raises:
            ExternalDataMissing: There is none.
            ExternalDataUnsafe: It is not plainly beside the model.
        """
        ...


class Nowhere:
    """The model came alone, as bytes."""

    def content(self, tensor: str, path: str) -> memoryview:
        """Always missing."""
        reason = "hand in a .zip of the model and its data files, or save the model as one file"
        raise ExternalDataMissing(tensor=tensor, path=path, reason=reason)


class Folder:
    """The folder that the model's file lies in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, memoryview] = {}

    def content(self, tensor: str, path: str) -> memoryview:
        """The mapped file; pages are read when they are looked at."""
        if path not in self._open:
            if any((self._folder / part).is_symlink() for part in _prefixes(path)):
                raise ExternalDataUnsafe(tensor=tensor, path=path)
            try:
                self._open[path] = _mapped(self._folder / path)
            except OSError as error:
                reason = f"it cannot be read ({error.strerror})"
                raise ExternalDataMissing(tensor=tensor, path=path, reason=reason) from error
        return self._open[path]


class Archive:
    """The zip archive that the model lies in."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._read: dict[str, memoryview] = {}

    def content(self, tensor: str, path: str) -> memoryview:
        """The unpacked member."""
        if path not in self._read:
            content = self._bundle.beside(path)
            if content is None:
                raise ExternalDataMissing(
                    tensor=tensor, path=path, reason="there is no such file in the archive"
                )
            self._read[path] = memoryview(content)
        return self._read[path]


def _prefixes(path: str) -> Iterator[PurePosixPath]:
    whole = PurePosixPath(path)
    yield whole
    yield from (parent for parent in whole.parents if parent.parts)


def _mapped(file: Path) -> memoryview:
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a file")  # opening a pipe would wait for its other end
    with file.open("rb") as opened:
        if not file.stat().st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


@dataclass(frozen=True)
class Reference:
    """One tensor that lies elsewhere, and where.

    Attributes:
        dims: Its declared shape; empty in the tensor itself until the values are brought in.
    """

    tensor: onnx.TensorProto
    dims: tuple[int, ...]
    path: str
    offset: int
    length: int


def detach(proto: onnx.ModelProto, limit: int) -> list[Reference]:
    """Turn every external tensor into an empty inline one, and note where its values are.

    What is left can be checked without its files. Nothing is opened here.

    Raises:
        ExternalDataUnsafe: A path leaves the model's folder.
        ExternalDataMissing: A tensor does not say where it lies, or how much of it.
        ModelTooLarge: All of them together have more than ``limit`` bytes.
    """
    found = [_reference(t) for t in tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    total = sum(reference.length for reference in found)
    if total > limit:
        raise ModelTooLarge(quantity="bytes of external weights", got=total, limit=limit)
    for reference in found:
        tensor = reference.tensor
        for field in ("data_location", "external_data", "dims", "raw_data"):
            tensor.ClearField(field)
        tensor.dims.append(0)
    return found


def attach(references: list[Reference], beside: Beside) -> None:
    """Bring the values in, and restore the shapes.

    Raises:
        ExternalDataMissing: A file is missing or ends too early.
        ExternalDataUnsafe: A file is not plainly beside the model.
    """
    for reference in references:
        tensor, name, path = reference.tensor, reference.tensor.name, reference.path
        content = beside.content(name, path)
        end = reference.offset + reference.length
        if end > len(content):
            reason = f"it has {len(content):,} bytes, and the weight ends at byte {end:,}"
            raise ExternalDataMissing(tensor=name, path=path, reason=reason)
        tensor.ClearField("dims")
        tensor.dims.extend(reference.dims)
        tensor.raw_data = bytes(content[reference.offset : end])


def _reference(tensor: onnx.TensorProto) -> Reference:
    told = {entry.key: entry.value for entry in tensor.external_data}
    path = told.get("location", "")
    _require_plain(tensor.name, path)
    expected = bytes_of(tensor)
    offset, length = _number(tensor, told, "offset", 0), _number(tensor, told, "length", expected)
    if length != expected:
        reason = f"its shape {list(tensor.dims)} needs {expected:,} bytes, its length says {length:,}"
        raise ExternalDataMissing(tensor=tensor.name, path=path, reason=reason)
    return Reference(tensor, tuple(tensor.dims), path, offset, length)


def _require_plain(tensor: str, path: str) -> None:
    """Refuse whatever does not name a file at or below the model's folder, on any system."""
    windows = PureWindowsPath(path)
    parts = {*PurePosixPath(path).parts, *windows.parts}
    rooted = path.startswith(("/", "\\")) or bool(windows.drive)
    if not path or path == "." or rooted or ".." in parts or "\\" in path or "\0" in path:
        raise ExternalDataUnsafe(tensor=tensor, path=path)


def _number(tensor: onnx.TensorProto, told: dict[str, str], key: str, default: int) -> int:
    text = told.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= math.ceil(math.log10(2**63))):
        reason = f"its {key} {text!r} is no number"
        raise ExternalDataMissing(tensor=tensor.name, path=told.get("location", ""), reason=reason)
    return int(text)
