"""Which of the accepted data formats a file has, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from service.sniff import magic
from service.sniff.archive import check_zip
from service.sniff.npy import MAGIC as NPY_MAGIC
from service.sniff.npy import check_npy
from sosp_core.errors import DataEmpty, DataUnreadable

FORMATS = ".npz, .npy, .safetensors or a .zip of images"
LARGEST_HEADER = 10 * 2**20


def check_data(path: Path, max_unpacked: int) -> str:
    """Return the format of ``path``: ``npz``, ``npy``, ``safetensors`` or ``zip``.

    Raises:
        DataUnreadable: It is none of these, or broken.
        DataEmpty: An array in it has no samples.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataUnreadable(reason="the file is empty")
    with path.open("rb") as file:
        head = file.read(magic.HEAD)
        file.seek(0)
        if head.startswith(NPY_MAGIC):
            check_npy(file, size, "(array)")
            return "npy"
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            return check_zip(path, max_unpacked)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
            _check_safetensors(file, size)
            return "safetensors"
    other = magic.name_of(head)
    raise DataUnreadable(reason=f"the file is {other or 'of no known format'}; expected {FORMATS}")


def _check_safetensors(file: BinaryIO, size: int) -> None:
    """Spec: https://github.com/huggingface/safetensors#format."""
    length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise DataUnreadable(reason=f"the safetensors header has {length:,} bytes")
    try:
        header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        empty = [name for name, entry in tensors.items() if entry["shape"][:1] == [0]]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataUnreadable(reason="the safetensors header is broken") from error
    if not tensors or empty:
        raise DataEmpty(field=empty[0] if empty else "(file)")
    if 8 + length + end != size:
        raise DataUnreadable(reason=f"the safetensors file is cut short: it needs {8 + length + end} bytes")
