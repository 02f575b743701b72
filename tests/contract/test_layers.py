"""Imports inside the core run strictly downward, and never out of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "sosp_core"

#: The words and fields of a recipe, and how numbers are told; other vocabulary; the graph, and
#: mathematics that knows no graph; running and reading; what each operator means to slots, to torch and
#: to a clock; what can go; what that costs, how it scores, how it is cut and trained; the decision, and
#: further forms of its result; its report; the way through.
LAYERS = (
    "fields words units",
    "errors config progress checkpoints archives",
    "ir curvature machine presets",
    "runtime data",
    "ops convert bench",
    "structures",
    "cost saliency surgery finetune",
    "select bottleneck export",
    "stages report",
    "modes inspection sensitivity",
    "pipeline",
    "__init__",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
MODULES = sorted(CORE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(CORE).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    absolute = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    from_ = {f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    return absolute | from_


def name_of(path: Path) -> str:
    return str(path.relative_to(CORE))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_downward(path: Path) -> None:
    here = package_of(path)
    for name in sorted(imports_of(path)):
        top, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        assert top not in {"service", "worker", "tests"}, f"{path}: the core imports {name}"
        if top == "sosp_core" and there != here and there in LEVEL:
            assert LEVEL[there] < LEVEL[here], f"{path}: {name} is not below {here}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_import_is_relative(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text()))
    assert not [n.lineno for n in nodes if isinstance(n, ast.ImportFrom) and n.level > 0]


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in MODULES} == set(LEVEL)
