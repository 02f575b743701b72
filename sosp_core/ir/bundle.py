"""A zip archive of one model and the files its weights lie in, never unpacked to disk.

Loads no numerical library, so that an upload can be judged by it.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

from sosp_core.archives import BROKEN, files_of, reason_against
from sosp_core.errors import BundleUnreadable

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
MOST_MEMBERS = 10_000


def is_bundle(head: bytes) -> bool:
    """Whether a file that starts so is a zip archive."""
    return head.startswith(MAGICS)


class Bundle:
    """The archive, opened.

    Args:
        source: A file, or its content.
        unpacked_bytes: Refuse archives whose members declare more than this in all.

    Attributes:
        model_name: Where the model lies in the archive; its weights lie beside it.

    Raises:
        BundleUnreadable: The archive is broken, unsafe or too large, or holds not one model.
    """

    def __init__(self, source: Path | bytes, *, unpacked_bytes: int) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
            self._members = _members(self._archive, unpacked_bytes)
        except BROKEN as error:
            raise BundleUnreadable(reason=f"the archive is broken: {error}") from error
        models = [name for name in self._members if name.lower().endswith(".onnx")]
        if len(models) != 1:
            found = f"it holds {len(models)}: {', '.join(sorted(models)[:5])}" if models else "it holds none"
            raise BundleUnreadable(reason=f"expected exactly one .onnx file, {found}")
        self.model_name = models[0]

    def model(self) -> bytes:
        """The model's own bytes."""
        return self._read(self.model_name)

    def beside(self, path: str) -> bytes | None:
        """The content of a file named relative to the model, or None if there is no such file."""
        name = str(PurePosixPath(self.model_name).parent / path)
        return self._read(name) if name in self._members else None

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._members[name])
        except BROKEN as error:
            raise BundleUnreadable(reason=f"{name!r} is broken: {error}") from error


def _members(archive: zipfile.ZipFile, unpacked_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The files by normalised name."""
    infos = files_of(archive)
    if len(infos) > MOST_MEMBERS:
        raise BundleUnreadable(reason=f"it holds {len(infos):,} files, more than {MOST_MEMBERS:,}")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > unpacked_bytes:
        raise BundleUnreadable(reason=f"it unpacks to {unpacked:,} bytes, more than {unpacked_bytes:,}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if reason := reason_against(info):
            raise BundleUnreadable(reason=reason)
        name = str(PurePosixPath(info.filename))
        if name in members:
            raise BundleUnreadable(reason=f"it holds two files of the name {name!r}")
        members[name] = info
    return members
