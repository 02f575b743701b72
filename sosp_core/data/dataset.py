"""Data that fit a model: one array for each input, the first axis counting samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sosp_core.data.read import LABELS, UNNAMED, read_arrays
from sosp_core.errors import DataEmpty, DataMismatch, DataNotFinite
from sosp_core.ir.interface import Interface, Port

Array = np.ndarray[Any, Any]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Samples that a model accepts.

    Attributes:
        inputs: By input name, ``[N, ...]`` in the input's dtype.
        labels: ``[N]`` class numbers, or ``[N, ...]`` targets; None if there are none.
    """

    inputs: dict[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: Indices) -> Dataset:
        """The samples at ``indices``, in that order."""
        return Dataset(
            inputs={name: array[indices] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[indices],
        )

    def batches(self, size: int, *, limit: int | None = None, drop_last: bool = False) -> Iterator[Dataset]:
        """Consecutive batches in the data's own order; the last may be short."""
        n = len(self) if limit is None else min(limit, len(self))
        for start in range(0, n, size):
            stop = min(start + size, n)
            if not (drop_last and stop - start < size):
                yield self.take(np.arange(start, stop))

    def split(self, share: float, seed: int, multiple: int = 1) -> tuple[Dataset, Dataset]:
        """Shuffle and set ``share`` aside: (rest, held out), the latter a multiple of ``multiple``."""
        order = np.random.default_rng(seed).permutation(len(self))
        held = max(1, round(len(self) * share / multiple)) * multiple
        return self.take(order[held:]), self.take(order[:held])


def load_dataset(path: Path, interface: Interface, *, limit: int | None = None) -> Dataset:
    """Read a data file and match it to a model's inputs.

    Args:
        path: See ``data.read`` for the formats.
        interface: What the model takes.
        limit: Keep the first samples only.

    Raises:
        DataUnreadable: The file cannot be read.
        DataMismatch: An array is missing, or of another type or shape than its input.
        DataEmpty: No samples.
        DataNotFinite: NaN or infinite values.
    """
    arrays = read_arrays(path)
    if UNNAMED in arrays and len(interface.inputs) == 1:
        arrays[interface.inputs[0].name] = arrays.pop(UNNAMED)
    inputs = {port.name: _fit(arrays, port) for port in interface.inputs}
    first = interface.inputs[0].name
    n = len(inputs[first])
    labels = arrays.get(LABELS) if LABELS not in inputs else None
    for name, array in (*inputs.items(), (LABELS, labels)) if labels is not None else inputs.items():
        if array is None or array.ndim == 0 or len(array) != n:
            raise DataMismatch(
                field=name, expected=f"{n} samples as {first!r}, along the first axis", got=_describe(array)
            )
    _check_fixed_batch(interface, n, first)
    for name, array in inputs.items():
        _check_finite(name, array)
    if labels is not None:
        _check_finite(LABELS, labels)
    usable = n if limit is None else min(n, limit)
    usable -= usable % (interface.batch or 1)  # a fixed batch takes whole batches only
    kept = Dataset(inputs=inputs, labels=labels)
    return kept if usable == n else kept.take(np.arange(usable))


def _fit(arrays: dict[str, Array], port: Port) -> Array:
    array = arrays.get(port.name)
    if array is None:
        present = ", ".join(sorted(a for a in arrays if a)) or "none with a name"
        raise DataMismatch(field=port.name, expected=_wanted(port), got=f"no such array (present: {present})")
    fits = array.ndim == len(port.shape) and all(
        not isinstance(want, int) or want == got
        for want, got in zip(port.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise DataMismatch(field=port.name, expected=_wanted(port), got=_describe(array))
    if len(array) == 0:
        raise DataEmpty(field=port.name)
    return _cast(array, port)


def _cast(array: Array, port: Port) -> Array:
    """Accept another width of the same kind (float64 for float32); refuse another kind."""
    if array.dtype == port.dtype:
        return array
    # Custom float types (bfloat16) have kind "V": their data come as ordinary floats.
    wanted = "f" if port.dtype.kind == "V" else port.dtype.kind
    if array.dtype.kind != wanted:
        raise DataMismatch(field=port.name, expected=_wanted(port), got=_describe(array))
    return array.astype(port.dtype)


def _check_fixed_batch(interface: Interface, n: int, name: str) -> None:
    batch = interface.batch
    if batch is not None and n < batch:
        raise DataMismatch(
            field=name, expected=f"at least {batch} samples (the model's fixed batch)", got=str(n)
        )


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind not in "fc":
        return
    bad = 0
    for start in range(0, len(array), 1024):  # in blocks: no mask the size of the data
        bad += int(np.count_nonzero(~np.isfinite(array[start : start + 1024])))
    if bad:
        raise DataNotFinite(field=name, count=bad)


def _wanted(port: Port) -> str:
    """The first axis counts samples, even where a graph takes so many at once and no others."""
    return str(port if port.batch is None else replace(port, shape=("N", *port.shape[1:])))


def _describe(array: Array | None) -> str:
    return "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
