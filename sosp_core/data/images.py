"""A zip of images as calibration data: sub-folder = class, ``preprocess.json`` = how to prepare.

Which names are read, and as what, is said in ``data.folders``. ``preprocess.json`` at the top of the
archive, or of the one folder that holds everything; every field is optional::

    {"input": "input", "size": [224, 224], "mean": [0.485, 0.456, 0.406],
     "std": [0.229, 0.224, 0.225], "scale": 255, "layout": "NCHW", "color": "RGB"}
"""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sosp_core.archives import files_of
from sosp_core.data.folders import PREPROCESS, Folders
from sosp_core.errors import DataUnreadable

Array = np.ndarray[Any, Any]

#: Decoders that Pillow may try; others (EPS, PSD ...) run far more code for no use here.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
MAX_PIXELS = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From decoded pixels to what the model was trained on: ``(x / scale − mean) / std``."""

    input: str = ""
    size: tuple[int, int] | None = None  # height, width; None: all images must already agree
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    layout: str = "NCHW"
    color: str = "RGB"

    def __post_init__(self) -> None:
        if self.layout not in ("NCHW", "NHWC"):
            raise ValueError(f"layout must be NCHW or NHWC, got {self.layout!r}")
        if self.color not in ("RGB", "L"):
            raise ValueError(f"color must be RGB or L, got {self.color!r}")
        if self.scale <= 0 or any(s <= 0 for s in self.std):
            raise ValueError("scale and std must be positive")
        if not isinstance(self.input, str):
            raise ValueError(f"input must be a name, got {self.input!r}")
        whole = self.size is None or (
            len(self.size) == 2 and all(type(n) is int and n > 0 for n in self.size)
        )
        if not whole or (self.size is not None and self.size[0] * self.size[1] > MAX_PIXELS):
            raise ValueError(f"size must be [height, width] in pixels, got {self.size!r}")


def read_images(path: Path) -> dict[str, Array]:
    """Decode every image: the input array, and ``labels`` if they lie in two sub-folders or more.

    Classes are numbered in sorted order of the folders' names; see ``data.folders``.

    Raises:
        DataUnreadable: An image is of no supported format, sizes differ, or ``preprocess.json`` is
            no good or not where it has to be.
    """
    with zipfile.ZipFile(path) as archive:
        folders = Folders.of([info.filename for info in files_of(archive)])
        settings = _settings(archive, folders.preprocess)
        images = []
        for name in folders.images:
            with archive.open(name) as file:
                images.append(_prepare(_decode(file, name, settings), settings))
    if len({image.shape for image in images}) > 1:
        raise DataUnreadable(reason=f'images differ in size; give "size" in {PREPROCESS}')
    arrays = {settings.input: np.stack(images)}
    if folders.classes is not None:
        arrays["labels"] = np.array(folders.classes, dtype=np.int64)
    return arrays


def _settings(archive: zipfile.ZipFile, name: str | None) -> Preprocess:
    if name is None:
        return Preprocess()
    try:
        given: dict[str, Any] = json.loads(archive.read(name))
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return Preprocess(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataUnreadable(reason=f"{PREPROCESS}: {error}") from error


def _decode(file: IO[bytes], name: str, settings: Preprocess) -> Array:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                upright = ImageOps.exif_transpose(image).convert(settings.color)
                if settings.size is not None:
                    height, width = settings.size
                    upright = upright.resize((width, height), Image.Resampling.BILINEAR)
                return np.asarray(upright, dtype=np.float32)
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataUnreadable(reason=f"image {name!r}: {error}") from error


def _prepare(pixels: Array, settings: Preprocess) -> Array:
    x = pixels if pixels.ndim == 3 else pixels[:, :, None]
    channels = x.shape[2]
    mean, std = (np.asarray(v[:channels], dtype=np.float32) for v in (settings.mean, settings.std))
    x = (x / np.float32(settings.scale) - mean) / std
    return np.ascontiguousarray(x.transpose(2, 0, 1) if settings.layout == "NCHW" else x)
