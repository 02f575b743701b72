"""What a zip archive from outside may hold: asked alike where it is uploaded and where it is opened."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

#: What every common tool writes; the others may need gigabytes to unpack one byte.
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
#: Everything ``zipfile`` raises for damaged archives: NotImplementedError for methods and versions it
#: does not know, RuntimeError for passwords; OSError and OverflowError come from wild offsets.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)


def files_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that are files, without what macOS puts beside a user's own."""
    return [info for info in archive.infolist() if not info.is_dir() and not _of_macos(info.filename)]


def _of_macos(name: str) -> bool:
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store"


def reason_against(info: zipfile.ZipInfo) -> str | None:
    """Why a member must not be unpacked; None if it may."""
    name = info.filename
    if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
        return f"it holds a file with the unsafe name {name!r}"
    if stat.S_ISLNK(info.external_attr >> 16):
        return f"{name!r} is a link"
    if info.flag_bits & 0x1:
        return f"{name!r} is encrypted"
    if info.compress_type not in METHODS:
        return f"{name!r} is neither stored nor deflated"
    return None
