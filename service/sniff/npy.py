"""The header of a ``.npy`` array, read without NumPy.

Spec: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import math
import re
from typing import IO, Any

from sosp_core.errors import DataEmpty, DataUnreadable

MAGIC = b"\x93NUMPY"
# NumPy's own limit (max_header_size): parsing a longer literal could exhaust the stack.
LONGEST_HEADER = 10_000
DTYPE = re.compile(r"[<>|=]?([?bBiufcSUVmMO])(\d*)(\[.*\])?", re.ASCII)


def check_npy(file: IO[bytes], size: int, name: str) -> int:
    """Check the array at the start of ``file``, which declares to take ``size`` bytes in all.

    Returns:
        The bytes its values take.

    Raises:
        DataUnreadable: It is no array, holds Python objects, or is cut short.
        DataEmpty: Its first axis has length zero.
    """
    header, used = _header(file, name)
    shape, width = _shape(header, name), _item_size(header, name)
    if shape and shape[0] == 0:
        raise DataEmpty(field=name)
    values = math.prod(shape) * width
    if used + values != size:
        raise DataUnreadable(
            reason=f"array {name!r}: its header says {values} bytes, the file has {size - used}"
        )
    return values


def _header(file: IO[bytes], name: str) -> tuple[dict[str, Any], int]:
    start = file.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise DataUnreadable(reason=f"array {name!r} has no NumPy header")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    text = file.read(length) if length <= LONGEST_HEADER else b""
    if len(text) != length or not text:
        raise DataUnreadable(reason=f"array {name!r}: its header of {length} bytes is cut short or too long")
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataUnreadable(reason=f"array {name!r}: its header is not a literal") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise DataUnreadable(reason=f"array {name!r}: its header lacks descr, fortran_order or shape")
    return header, 8 + width + length


def _shape(header: dict[str, Any], name: str) -> tuple[int, ...]:
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise DataUnreadable(reason=f"array {name!r}: its shape is not a tuple of sizes")
    if len(shape) > 32:
        raise DataUnreadable(reason=f"array {name!r} has {len(shape)} axes")
    return shape


def _item_size(header: dict[str, Any], name: str) -> int:
    descr = header["descr"]
    match = DTYPE.fullmatch(descr) if isinstance(descr, str) and len(descr) < 64 else None
    if match is None:
        raise DataUnreadable(reason=f"array {name!r} has a data type that is not a plain number")
    kind, width, _ = match.groups()
    if kind == "O":
        raise DataUnreadable(reason=f"array {name!r} holds Python objects, which are never unpickled")
    if kind not in "?bBiufc":
        raise DataUnreadable(reason=f"array {name!r} has data type {descr!r}; numbers are needed")
    return int(width or 1)
