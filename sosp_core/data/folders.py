"""A zip of images, judged by the names in it: which are read, in which classes, prepared by which file.

Loads no numerical library, so that an upload is judged as the job will read it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from sosp_core.errors import DataUnreadable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
#: Images too, by their names, but not read: to leave them out unasked could leave out a class.
UNREAD = frozenset(
    ".arw .avif .cr2 .cr3 .dng .gif .heic .heif .ico .j2k .jfif .jp2 .jpe .jxl .nef .pbm .pgm .pnm .ppm "
    ".psd .svg .tga .tif .tiff".split()
)
PREPROCESS = "preprocess.json"


def are_images(names: Sequence[str]) -> bool:
    """Whether the files look like images, whatever else lies beside them, except arrays."""
    suffixes = {_suffix(name) for name in names}
    return bool(suffixes & (SUFFIXES | UNREAD)) and ".npy" not in suffixes


@dataclass(frozen=True, kw_only=True)
class Folders:
    """How the images of an archive are laid out.

    Attributes:
        images: Their names, sorted.
        classes: The number of each image's folder, folders sorted by name; None if there are fewer
            than two folders, or an image lies in none.
        preprocess: The name of the file that says how to prepare them, if there is one.
    """

    images: tuple[str, ...]
    classes: tuple[int, ...] | None
    preprocess: str | None

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """The layout of files of these names.

        The folder that holds all images counts as the top, as tools pack one into an archive.

        Raises:
            DataUnreadable: An image is of a format that is not read, or ``preprocess.json`` does
                not lie at the top.
        """
        if unread := sorted(name for name in names if _suffix(name) in UNREAD):
            raise DataUnreadable(reason=_against_formats(unread))
        images = sorted(name for name in names if _suffix(name) in SUFFIXES)
        preprocess = [name for name in names if PurePosixPath(name).name == PREPROCESS]
        top = posixpath.commonpath([posixpath.dirname(name) for name in (*images, *preprocess)])
        for name in preprocess:
            if PurePosixPath(name) != PurePosixPath(top, PREPROCESS):
                raise DataUnreadable(reason=_against_place(name, top))
        settings = preprocess[0] if preprocess else None
        return cls(images=tuple(images), classes=_classes(images, top), preprocess=settings)


def _classes(images: list[str], top: str) -> tuple[int, ...] | None:
    folders = [PurePosixPath(name).parent for name in images]
    numbers = {name: number for number, name in enumerate(sorted({folder.name for folder in folders}))}
    if len(numbers) < 2 or PurePosixPath(top) in folders:
        return None
    return tuple(numbers[folder.name] for folder in folders)


def _against_formats(unread: list[str]) -> str:
    more = f" and {len(unread) - 1:,} more" if len(unread) > 1 else ""
    return f"image {unread[0]!r}{more}: read are {', '.join(sorted(SUFFIXES))}; convert it or leave it out"


def _against_place(name: str, top: str) -> str:
    place = posixpath.join(top, PREPROCESS)
    return f"{name!r} would be ignored; for all images to be prepared alike it has to be {place!r}"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
