"""Where an output has its samples, and where the classes or features of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Shape = tuple[int, ...]


class Seen(NamedTuple):
    """The shape that an output had for a number of samples."""

    samples: int
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Of one output.

    Attributes:
        samples: The axis that counts samples; None if there is none, as of a graph fixed to one sample.
        features: The axis of classes, or of features that have a scale each; None if there is none.
    """

    samples: int | None = 0
    features: int | None = 1

    def arranged(self, y: Tensor) -> Tensor:
        """An output as ``[samples, features, ...]``."""
        leading = self._leading()
        y = y.movedim(leading, list(range(len(leading))))
        y = y if self.samples is not None else y.unsqueeze(0)
        return y if self.features is not None else y.unsqueeze(1)

    def restored(self, z: Tensor) -> Tensor:
        """What was arranged, as the output has it."""
        leading = self._leading()
        z = z if self.features is not None else z.squeeze(1)
        z = z if self.samples is not None else z.squeeze(0)
        return z.movedim(list(range(len(leading))), leading)

    def by_sample(self, y: Tensor) -> Tensor:
        """An output as ``[samples, ...]``, which is how labels shaped as the output lie."""
        return y.unsqueeze(0) if self.samples is None else y.movedim(self.samples, 0)

    def inner(self, shape: Shape) -> Shape:
        """The shape of one sample."""
        return tuple(size for axis, size in enumerate(shape) if axis != self.samples)

    def _leading(self) -> list[int]:
        return [axis for axis in (self.samples, self.features) if axis is not None]


def usual_axes(rank: int) -> Axes:
    """``[samples, features, ...]``."""
    return Axes(features=1 if rank > 1 else None)


def sample_axis(seen: Sequence[Seen]) -> int | None:
    """The axis that grows with the number of samples, or has that size where only one number was seen."""
    (n, first), (m, second) = seen[0], seen[min(1, len(seen) - 1)]
    if n != m:
        return next((a for a, (x, y) in enumerate(zip(first, second, strict=True)) if x != y), None)
    exact = (a for a, size in enumerate(first) if size == n)
    multiple = (a for a, size in enumerate(first) if n > 1 and size % n == 0)
    return next(exact, next(multiple, None))


def feature_axis(seen: Sequence[Seen], samples: int | None) -> int | None:
    """The shorter of the first and the last axis within a sample, of those whose size is always the same."""
    inner = [a for a in range(len(seen[0].shape)) if a != samples]
    ends = [a for a in dict.fromkeys((*inner[:1], *inner[-1:])) if len({s.shape[a] for s in seen}) == 1]
    return min(ends, key=lambda a: seen[0].shape[a], default=None)
