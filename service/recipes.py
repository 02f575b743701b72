"""Recipes from JSON: strict, and precise about what is wrong.

The classes of ``sosp_core.config`` are the schema; pydantic reads it off them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sosp_core.config import Recipe
from sosp_core.errors import RecipeInvalid
from sosp_core.presets import PRESETS, Preset

ADAPTER = TypeAdapter(Recipe)
# Beyond this, JSON readers disagree about integers (RFC 8259, section 6).
LARGEST_INT = 2**53 - 1
# Ways to say how much may be left: one that is given takes the place of its base's.
EITHER = ("keep", "at_most", "max_drop")


def parse(source: str | bytes | dict[str, Any]) -> Recipe:
    """The recipe that a JSON text, or the object it stands for, describes.

    Raises:
        RecipeInvalid: Names the first field that is unknown or not allowed, and what would be.
    """
    text = _dump(source) if isinstance(source, dict) else source
    try:
        recipe = ADAPTER.validate_json(text)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0]) from error
    for path, value in _leaves(dump(recipe), ""):
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise RecipeInvalid(field=path, reason=f"must not exceed 2^53-1, got {value}")
    return recipe


def build(given: str | Mapping[str, Any]) -> Recipe:
    """The recipe of a name, or of an object, which may name another as its ``base``.

    ``"quick"``, ``{"prune": {"rounds": 4}}`` or ``{"base": "quick", "prune": {"rounds": 4}}``.

    Raises:
        RecipeInvalid: Names the first field that is unknown or not allowed, and what would be.
    """
    if isinstance(given, str):
        return named(given).recipe
    own = dict(given)
    if "base" not in own:
        return parse(own)
    base = own.pop("base")
    return parse(_merged(dump(named(base).recipe), own))


def read(text: str) -> Recipe:
    """The recipe that a JSON text stands for, as ``build`` takes it.

    Raises:
        RecipeInvalid: Names the first field that is unknown or not allowed, and what would be.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return parse(text)  # which says what is wrong with it
    return build(given) if isinstance(given, dict) else parse(text)


def named(name: object) -> Preset:
    """A recipe of ``sosp_core.presets``; ``RecipeInvalid`` names those there are."""
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    raise RecipeInvalid(field="base", reason=f"there is no recipe {name!r}; {_hint(str(name), [*PRESETS])}")


def _merged(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    if any(own.get(name) is not None for name in EITHER):  # a budget is one of them
        merged |= {name: None for name in EITHER if name in base and name not in own}
    return merged


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON, every default spelled out."""
    plain: dict[str, Any] = ADAPTER.dump_python(recipe, mode="json")
    return plain


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe."""
    return ADAPTER.json_schema()


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a recipe file, not yet validated."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecipeInvalid(field="(file)", reason=f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecipeInvalid(field="(file)", reason=f"{path.name} must hold a JSON object")
    return value


def look_up(asked: str | None) -> dict[str, Any]:
    """The object in the recipe file ``asked``, or one that stands for the recipe of that name.

    Raises:
        RecipeInvalid: It is neither, or the file holds no JSON object.
    """
    if asked is None:
        return {}
    if asked not in PRESETS and Path(asked).is_file():
        return read_object(Path(asked))
    if asked not in PRESETS and ("/" in asked or asked.endswith(".json")):
        raise RecipeInvalid(field="(file)", reason=f"there is no file {asked}")
    return {"base": named(asked).name}


def apply_overrides(recipe: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """``recipe`` with ``path=value`` settings applied; values are JSON, or else text.

    ``["finetune.steps=0", "prune.method=magnitude"]``; one of several ways to say how much takes the
    place of the recipe's, whichever that is.
    """
    changed: dict[str, Any] = json.loads(_dump(recipe))
    said: set[tuple[str, ...]] = set()
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not path:
            raise RecipeInvalid(field=path or "(set)", reason=f"expected path=value, got {setting!r}")
        *parents, last = path.split(".")
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise RecipeInvalid(field=path, reason=f"{parent!r} has no fields of its own")
        place[last] = _value(value)
        if last in EITHER and place[last] is not None:
            said.add((*parents, last))
            for other in EITHER:
                if (*parents, other) not in said:
                    place.pop(other, None)
    return changed


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _dump(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecipeInvalid(field="(recipe)", reason=f"cannot be written as JSON: {error}") from error


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield path, value


def _explain(error: ErrorDetails) -> RecipeInvalid:
    location = [str(part) for part in error["loc"]]
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "unexpected_keyword_argument":
        message = f"unknown field; {_hint(location[-1], _fields_at(location[:-1]))}"
    elif error["type"] == "enum" and isinstance(error["input"], str):
        choices = re.findall(r"'([^']+)'", message)
        message = f"{error['input']!r} is not allowed; {_hint(error['input'], choices)}"
    elif error["type"] == "value_error":
        # The core's messages begin with the field they are about, where it is a single one.
        subject = message.partition(" ")[0]
        location += [subject] if subject in _fields_at(location) else []
    return RecipeInvalid(field=".".join(location) or "(recipe)", reason=message)


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}known: {', '.join(known)}"


def _fields_at(location: Sequence[str]) -> list[str]:
    kind: Any = Recipe
    for part in location:
        kind = get_type_hints(kind).get(part) if is_dataclass(kind) else None
    names = [f.name for f in fields(kind)] if is_dataclass(kind) else []
    return names if location else [*names, "base"]
