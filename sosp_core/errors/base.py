"""What every deliberate error is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False, kw_only=True)
class SospError(Exception):
    """Base of every deliberate error; carries data, reads as one line."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def details(self) -> dict[str, Any]:
        """The error's fields, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __reduce__(self) -> tuple[Any, ...]:  # keyword-only fields must survive pickling
        return _rebuild, (type(self), self.details())


def _rebuild(cls: type[SospError], values: dict[str, Any]) -> SospError:
    return cls(**values)


class InputError(SospError):
    """What was handed in cannot be used; the same input will fail again."""


def every_error(root: type[SospError] = SospError) -> Iterator[type[SospError]]:
    """Yield every class of the tree, ``root`` first."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)
