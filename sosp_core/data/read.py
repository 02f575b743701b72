"""Data files to arrays, without ever unpickling.

Formats: ``.npz`` (one array for each model input, optional ``labels``), ``.npy`` (one input),
``.safetensors`` (as npz), and a ``.zip`` of images (sub-folder = class), see ``data.images``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sosp_core.archives import files_of
from sosp_core.data.folders import are_images
from sosp_core.data.images import read_images
from sosp_core.errors import DataTooLarge, DataUnreadable

Array = np.ndarray[Any, Any]

LABELS = "labels"
#: The name a single unnamed array goes by until it is matched to the model's only input.
UNNAMED = ""
MAX_BYTES = 64 * 2**30


def read_arrays(path: Path) -> dict[str, Array]:
    """Read every array of a data file.

    Raises:
        DataUnreadable: The format is unknown, damaged, holds pickled objects, or expands beyond
            the limit.
        DataTooLarge: The arrays do not fit in memory.
    """
    with path.open("rb") as file:
        head = file.read(16)
    try:
        if not head:
            raise DataUnreadable(reason="the file is empty")
        if head.startswith(b"\x93NUMPY"):
            return {UNNAMED: np.load(path, allow_pickle=False, mmap_mode="r")}
        if head.startswith(b"PK"):
            return _read_zip(path)
        if len(head) > 8 and head[8:9] == b"{":
            return _read_safetensors(path)
    except DataUnreadable:
        raise
    except MemoryError as error:
        raise DataTooLarge(file=path.name) from error
    # Damaged bytes make zipfile, zlib, tokenize, numpy and Pillow raise a dozen unrelated classes.
    except Exception as error:
        raise DataUnreadable(reason=_explain(error)) from error
    raise DataUnreadable(reason="expected .npz, .npy, .safetensors or a .zip of images")


def _read_zip(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        infos = files_of(archive)
        if sum(info.file_size for info in infos) > MAX_BYTES:
            raise DataUnreadable(reason=f"it expands to more than {MAX_BYTES:,} bytes")
        names = [info.filename for info in infos]
    if are_images(names):
        return dict(read_images(path))
    if len(set(names)) != len(names):
        raise DataUnreadable(reason="it holds two arrays of the same name")
    if not all(name.endswith(".npy") for name in names):
        raise DataUnreadable(reason="a .zip must hold either arrays (.npy) or images, nothing else")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in (file.removesuffix(".npy") for file in names)}


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: Mapping[str, Array] = load_file(path)
    except SafetensorError as error:
        raise DataUnreadable(reason=f"damaged safetensors file: {error}") from error
    return dict(arrays)


def _explain(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "pickle" in text.lower():
        return "it holds Python objects (pickle), which are never loaded; save plain numeric arrays"
    return text
