"""The published schema and the code agree, in both directions; page and card tell what the report says."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest

from sosp_core.config import ExportConfig, Quantization
from sosp_core.pipeline import Outcome, compress
from sosp_core.report.card import render_card
from sosp_core.report.page import render_html
from sosp_core.report.schema import report_schema
from sosp_core.report.sections import SECTIONS
from tests.core.digits import digits_model, recipe, save_digits
from tests.core.report.test_charts import SVG, parsed


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    place = tmp_path_factory.mktemp("report")
    asked = replace(recipe(method="magnitude"), export=ExportConfig(int8=Quantization.DYNAMIC), seed=2**31)
    data = save_digits(place / "data.npz", count=160)
    return compress(digits_model(), data, asked, out_dir=place / "out", device="cpu")


@pytest.fixture(scope="module")
def document(outcome: Outcome) -> dict[str, Any]:
    return json.loads(outcome.report_json.read_text())


def strict(schema: Any) -> Any:
    """The schema with no room for fields it does not list."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        tight["additionalProperties"] = False
    return tight


def test_a_report_has_every_field_of_the_schema_and_no_other(document: dict[str, Any]) -> None:
    schema = report_schema()
    jsonschema_rs.meta.validate(schema)
    jsonschema_rs.validator_for(strict(schema)).validate(document)


def every_path(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in ((*path, key), *every_path(item, (*path, key)))]
    if isinstance(value, list) and value:
        return every_path(value[0], (*path, 0))
    return []


def test_a_report_that_lacks_a_field_is_not_valid(document: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for(report_schema())
    free = {"recipe", "timings_s", "versions"}  # tables whose keys are data
    paths = [p for p in every_path(document) if len(p) == 1 or p[0] not in free]
    assert len(paths) > 80
    for path in paths:
        changed = copy.deepcopy(document)
        place = changed
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        assert not validator.is_valid(changed), path


def test_the_page_has_every_section_once_and_its_plots(outcome: Outcome) -> None:
    page = outcome.report_html.read_text("utf-8")
    for make in SECTIONS:
        section = make(outcome.report)
        assert page.count(f'<section id="{make.__name__}">') == (section is not None)
    assert page.count("<svg") == 1 + 1 + 1 + 2, "latency, network, widths and two of training"


def test_every_plot_of_the_page_is_a_picture_of_its_own(outcome: Outcome) -> None:
    with zipfile.ZipFile(outcome.plots) as archive:
        made = {name: archive.read(name).decode() for name in archive.namelist()}
    assert list(made) == ["latency.svg", "graph.svg", "widths.svg", "training-1.svg", "training-2.svg"]
    for svg in made.values():
        root = parsed(svg.partition("\n")[2])
        assert root.tag == f"{SVG}svg"
        assert "var(" not in svg
        assert set(re.findall(r"https?://[^\"]+", svg)) == {"http://www.w3.org/2000/svg"}


def test_names_out_of_a_model_are_text_in_page_and_card(outcome: Outcome) -> None:
    evil = "<img src=x onerror=alert(1)>|[a](http://x)"
    layers = tuple(replace(layer, node=evil) for layer in outcome.report.layers)
    report = replace(outcome.report, layers=layers, refusals=(evil,), warnings=(evil,))
    assert "<img" not in render_html(report)
    card = render_card(report)
    assert "<img" not in card.replace("\\<img", "")
    assert "](http" not in card.replace("\\](", "").replace("\\]\\(", "")


def test_the_card_tells_what_the_report_does(outcome: Outcome) -> None:
    card = outcome.card.read_text("utf-8")
    assert outcome.report.model_sha256 in card
    for name, before, after, _ in outcome.report.rows():
        assert f"| {name} | {before} | {after} |" in card
    assert card.startswith("---\n")


def test_the_schema_can_be_read_without_a_numerical_library() -> None:
    code = (
        "import sys; from sosp_core.report.schema import report_schema; report_schema();"
        "print([n for n in ('numpy', 'torch', 'onnx', 'jinja2') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
