"""Fields of a recipe that were written as in JSON, as the types that they are declared with."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError`` with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def settle(config: Any) -> None:
    """Give fields that were written as in JSON their types: words, limits, tuples.

    A word of a recipe equals its text and is not it: taken as it is, the text would be misread.

    Raises:
        ValueError: A word is none of those there are, or one value stands where several are wanted.
    """
    kinds = get_type_hints(type(config))
    for name in (f.name for f in fields(config)):
        object.__setattr__(config, name, _as(kinds[name], getattr(config, name), name))


def _as(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        require(isinstance(value, tuple | list), f"{name} must be several, as in ({value!r},)")
        return tuple(_as(inner[0], one, name) for one in value)
    if origin is dict:
        return {key: _as(inner[1], one, name) for key, one in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        require(value in list(kind), f"{name} must be one of {', '.join(kind)}, got {value!r}")
        return kind(value)
    written = is_dataclass(kind) and isinstance(value, dict)
    return kind(**value) if written else value
