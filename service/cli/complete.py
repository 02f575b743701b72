"""What the shell offers to complete: names and paths of recipe fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any, get_type_hints

from sosp_core.config import Recipe


def recipe_names(incomplete: str) -> list[tuple[str, str]]:
    """Names of recipes, each with what it gives; the shell itself offers files."""
    from sosp_core.presets import PRESETS

    return [(p.name, p.gives) for p in PRESETS.values() if p.name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """``path=`` of every recipe field, and ``path=value`` where the values can be listed."""
    return [text for text in _settings(Recipe, "") if text.startswith(incomplete)]


def _settings(kind: Any, path: str) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        name, inner = f"{path}{field.name}", hints[field.name]
        if is_dataclass(inner):
            yield from _settings(inner, f"{name}.")
        elif isinstance(inner, type) and issubclass(inner, StrEnum):
            yield from (f"{name}={choice}" for choice in inner)
        else:
            yield f"{name}="
