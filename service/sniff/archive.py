"""Zip archives of arrays (``.npz``) or of images, judged by their directory."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from service.sniff.npy import check_npy
from sosp_core.archives import BROKEN, files_of, reason_against
from sosp_core.data.folders import Folders, are_images
from sosp_core.errors import DataEmpty, DataUnreadable

# The directory is read as a whole; 64 MiB describe about a million files.
LARGEST_DIRECTORY = 64 * 2**20
END, END64, LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
END_SIZE, LOCATOR_SIZE = 22, 20


def check_zip(path: Path, max_unpacked: int) -> str:
    """Return ``"npz"`` or ``"zip"`` (of images).

    Raises:
        DataUnreadable: The archive is broken, unsafe, too large when unpacked, holds neither, or
            holds images or a ``preprocess.json`` that a job would not read.
        DataEmpty: It has no files, or an array in it has no samples.
    """
    try:
        with path.open("rb") as file:
            require_small_directory(file)
        with zipfile.ZipFile(path) as archive:
            return _check(archive, max_unpacked)
    except BROKEN as error:
        raise DataUnreadable(reason=f"the zip archive is broken: {error}") from error


def _check(archive: zipfile.ZipFile, max_unpacked: int) -> str:
    members = files_of(archive)
    if not members:
        raise DataEmpty(field="(archive)")
    for info in members:
        if reason := reason_against(info):
            raise DataUnreadable(reason=f"of the archive: {reason}")
    if len({info.filename for info in members}) != len(members):
        raise DataUnreadable(reason="the archive has two files of the same name")
    unpacked = sum(info.file_size for info in members)
    if unpacked > max_unpacked:
        raise DataUnreadable(reason=f"the archive unpacks to {unpacked:,} bytes, more than {max_unpacked:,}")
    names = [info.filename for info in members]
    if all(name.endswith(".npy") for name in names):
        for info in members:
            with archive.open(info) as file:
                check_npy(file, info.file_size, info.filename.removesuffix(".npy"))
        return "npz"
    if are_images(names):
        Folders.of(names)
        return "zip"
    raise DataUnreadable(reason="the archive holds neither arrays (.npy) alone nor images")


def require_small_directory(file: BinaryIO) -> None:
    """Refuse a directory that is itself a bomb, before ``zipfile`` reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2**16 - END_SIZE - LOCATOR_SIZE))
    tail = file.read()
    end = tail.rfind(END)
    if end < 0 or len(tail) - end < END_SIZE:
        raise DataUnreadable(reason="the zip archive is truncated: it has no directory")
    directory = _number("<I", tail, end + 12)
    locator = tail[max(0, end - LOCATOR_SIZE) : end]
    if len(locator) == LOCATOR_SIZE and locator.startswith(LOCATOR64):
        file.seek(min(_number("<Q", locator, 8), size))
        record = file.read(56)
        if record[:4] == END64:
            directory = _number("<Q", record, 40)
    if directory > LARGEST_DIRECTORY:
        raise DataUnreadable(reason=f"the directory of the zip archive has {directory:,} bytes")


def _number(form: str, data: bytes, offset: int) -> int:
    value: int = struct.unpack_from(form, data, offset)[0]
    return value
