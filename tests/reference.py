"""The reference pages under ``docs/reference``, made from the code: ``python -m tests.reference``."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

PLACE = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Made by `python -m tests.reference`; a test compares. -->\n\n"


def recipe_page() -> str:
    from sosp_core.config import Recipe

    parts = [
        "# Recipe\n\nOne JSON object, the same for `sosp compress --recipe`, `POST /v1/jobs` and Python. "
        "Every field has a default; an unknown field is an error that names the nearest known one. "
        "Its JSON schema is served at `/v1/schemas/recipe`. `base` may name one of the [recipes by name](recipes.md): the other fields "
        "are then changes to it.\n"
    ]
    for path, kind in _stages(Recipe, ""):
        title = f"`{path}`" if path else "At the top"
        parts.append(f"## {title}\n\n{_first_paragraph(kind)}\n\n{_table(FIELD_HEAD, _field_rows(kind))}")
    return "\n".join(parts)


FIELD_HEAD = ("Field", "Type", "Default", "Meaning")


def _stages(kind: type, path: str) -> Iterator[tuple[str, type]]:
    yield path, kind
    for name, inner in get_type_hints(kind).items():
        if is_dataclass(inner) and isinstance(inner, type):
            yield from _stages(inner, f"{path}.{name}".lstrip("."))


def _field_rows(kind: Any) -> Iterator[tuple[str, ...]]:
    hints, told = get_type_hints(kind), _attributes(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield f"`{field.name}`", "object", "", "See below."
            continue
        yield f"`{field.name}`", _type(hint), f"`{_default(field)}`", told.get(field.name, _choices_of(hint))


def _type(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(f"`{choice}`" for choice in hint)
    names = {"None": "null", "str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    if get_origin(hint) is tuple:
        return f"list of {_type(get_args(hint)[0])}"
    if get_origin(hint) is dict:  # patterns to objects that say what they hold
        inner = ", ".join(f"`{f.name}`" for f in fields(get_args(hint)[1]))
        return f"object: pattern to one of {inner}"
    told = hint.__name__ if isinstance(hint, type) else str(hint)
    return " or ".join(names.get(part.strip(), part.strip()) for part in told.split("|"))


def _choices_of(hint: Any) -> str:
    return _first_paragraph(hint) if isinstance(hint, type) and issubclass(hint, StrEnum) else ""


def _default(field: Field[Any]) -> str:
    value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    return json.dumps(value)


def _attributes(kind: type) -> dict[str, str]:
    """The ``Attributes:`` of a docstring, by name."""
    _, _, listed = inspect.getdoc(kind).partition("Attributes:\n")  # type: ignore[union-attr]
    found: dict[str, str] = {}
    for line in listed.splitlines():
        if match := re.match(r"    (\w+): (.*)", line):
            last = match[1]
            found[last] = match[2]
        elif line.startswith("        "):
            found[last] += " " + line.strip()
        elif line.strip():
            break
    return {name: text.replace("``", "`") for name, text in found.items()}


def recipes_page() -> str:
    from service import recipes
    from sosp_core.config import Recipe
    from sosp_core.presets import PRESETS

    usual = recipes.dump(Recipe())
    parts = [
        "# Recipes by name\n\n`sosp recipes` prints them, `--recipe NAME` uses one, and so does a job whose "
        '`recipe` is the name or has it as its `base`: `{"base": "quick", "prune": {"budget": {"keep": 0.4}}}`. '
        "[Which to choose, and what came of them](../how-to/choose-a-recipe.md).\n"
    ]
    for preset in PRESETS.values():
        changes = _changes(recipes.dump(preset.recipe), usual)
        block = f"```json\n{json.dumps(changes, indent=2)}\n```\n"
        told = f"What differs from the defaults:\n\n{block}" if changes else "These are the defaults.\n"
        parts.append(f"## {preset.name}\n\nGives {preset.gives}.\n\n**When:** {preset.when}\n\n{told}")
    return "\n".join(parts)


def _changes(mine: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    inner = {k: _changes(v, usual[k]) if isinstance(v, dict) else v for k, v in mine.items() if v != usual[k]}
    return {key: value for key, value in inner.items() if value != {}}


def rest_page() -> str:
    from tempfile import TemporaryDirectory

    from service.app import create_app
    from service.settings import Settings

    with TemporaryDirectory() as place:
        app = create_app(Settings(data_dir=Path(place)))
        paths = app.openapi()["paths"]
        app.state.parts.close()
    parts = [
        "# REST\n\nMade from the OpenAPI document that the service serves at `/openapi.json`; `/docs` shows it "
        "with forms to try. Errors are [problem documents](errors.md) (RFC 9457). With keys in use every request "
        "under `/v1` takes `Authorization: Bearer KEY`.\n"
    ]
    for path, methods in paths.items():
        for method, about in methods.items():
            summary = (about.get("description") or about.get("summary", "")).strip().split("\n\n")[0]
            parts.append(f"## `{method.upper()} {path}`\n\n{_prose(summary)}\n")
            rows = [
                (f"`{p['name']}`", p["in"], "yes" if p.get("required") else "", p.get("description", ""))
                for p in about.get("parameters", ())
            ]
            if rows:
                parts.append(_table(("Parameter", "In", "Required", "Meaning"), rows))
            statuses = ", ".join(f"{code}" for code in about["responses"] if code != "default")
            parts.append(f"Answers: {statuses}; else a problem.\n")
    return "\n".join(parts)


def cli_page() -> str:
    import typer.main

    from service.cli.main import app

    root = typer.main.get_command(app)
    parts = [
        "# Command line\n\nExit codes: 0 done, 1 the job failed, 2 bad usage or input. Reading commands take "
        "`--json`. `sosp --install-completion` teaches your shell the commands, the names of recipes and the "
        "paths of their fields.\n"
    ]
    for name, command in _commands(root, ""):
        parts.append(f"## `{name}`\n\n{_prose(command.help or '')}\n")
        rows = [_parameter(p) for p in command.params if p.name != "help"]
        if rows:
            parts.append(_table(("Argument or option", "Meaning"), rows))
    return "\n".join(parts)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    name = f"{path} {command.name or 'sosp'}".strip()
    if inner := getattr(command, "commands", None):
        for each in inner.values():
            yield from _commands(each, name)
    else:
        yield name, command


def _parameter(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        name = parameter.make_metavar(_context()) if hasattr(parameter, "make_metavar") else parameter.name
        return f"`{name}`", getattr(parameter, "help", None) or ""
    names = "`, `".join((*parameter.opts, *parameter.secondary_opts))
    return f"`{names}`", parameter.help or ""


def _context() -> Any:
    import typer.main

    from service.cli.main import app

    return typer.main.get_command(app).make_context("sosp", ["doctor"], resilient_parsing=True)


def errors_page() -> str:
    import service.errors  # noqa: F401  (its classes are listed, too)
    from service import problems
    from sosp_core.errors import every_error

    kinds = [k for k in every_error() if not k.__subclasses__()]
    rows = [
        (
            f"`{kind.code}`",
            str(problems.status_of(kind)),
            _first_paragraph(kind),
            ", ".join(f"`{f.name}`" for f in fields(kind)),  # type: ignore[arg-type]
            "yes" if kind.retryable else "",
        )
        for kind in sorted(kinds, key=lambda k: k.code)
    ]
    plain = [(f"`{code}`", str(status), title) for status, (code, title) in problems.PLAIN.items()]
    return (
        "# Errors\n\nEvery error has a stable `code`: in problem documents, in the `error` of a failed job, and "
        "in brackets at the end of the line that `sosp` prints. `details` holds its own fields.\n\n"
        + _table(("Code", "Status", "Meaning", "Fields", "A retry may help"), rows)
        + "\n## Of the protocol itself\n\n"
        + _table(("Code", "Status", "Meaning"), plain)
    )


def settings_page() -> str:
    from service.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory else f"`{json.dumps(field.default)}`"
        rows.append((f"`SOSP_{name.upper()}`", default, field.description or ""))
    return (
        "# Settings\n\nOf a server and its workers, as environment variables; read once, at the start.\n\n"
        + _table(("Variable", "Default", "Meaning"), rows)
    )


def report_page() -> str:
    from sosp_core.report.schema import report_schema

    schema = report_schema()
    parts = [
        f"# Report\n\n`report.json`. {schema['description']} Its schema is served at `/v1/schemas/report`.\n"
    ]
    parts.append(f"## At the top\n\n{_table(('Field', 'Type', 'Meaning'), _schema_rows(schema))}")
    for name, inner in schema["$defs"].items():
        rows = _table(("Field", "Type", "Meaning"), _schema_rows(inner))
        parts.append(f"## {name}\n\n{inner['description']}\n\n{rows}")
    return "\n".join(parts)


def _schema_rows(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, inner in schema["properties"].items():
        yield f"`{path}{name}`", _schema_type(inner), inner.get("description", "")
        if "properties" in inner:
            yield from _schema_rows(inner, f"{path}{name}.")
        elif "properties" in inner.get("items", {}):
            yield from _schema_rows(inner["items"], f"{path}{name}[].")


def _schema_type(inner: dict[str, Any]) -> str:
    if "$ref" in inner:
        name = inner["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in inner:
        return f"`{inner['const']}`"
    if "enum" in inner:
        return ", ".join(f"`{choice}`" for choice in inner["enum"])
    if "anyOf" in inner:
        return " or ".join(_schema_type(choice) for choice in inner["anyOf"])
    if inner["type"] == "array":
        return f"list of {_schema_type(inner['items'])}"
    return " or ".join(inner["type"]) if isinstance(inner["type"], list) else str(inner["type"])


def _first_paragraph(kind: Any) -> str:
    return _prose((inspect.getdoc(kind) or "").split("\n\n")[0])


def _prose(text: str) -> str:
    told = " ".join(text.replace("``", "`").split())
    parts = told.split("`")  # what lies between backticks is code, where Markdown escapes by itself
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_prose(c).replace("|", "\\|") for c in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


PAGES: dict[str, Callable[[], str]] = {
    "recipe.md": recipe_page,
    "recipes.md": recipes_page,
    "rest.md": rest_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "report.md": report_page,
}


def render(name: str) -> str:
    """One page."""
    return MADE + PAGES[name]().rstrip("\n") + "\n"


if __name__ == "__main__":
    PLACE.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        (PLACE / page).write_text(render(page), encoding="utf-8")
        sys.stdout.write(f"{PLACE / page}\n")
