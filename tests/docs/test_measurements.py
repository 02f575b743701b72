"""Tables and plots of the measurements are what the numbers they name give."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.benchmarks import page, plots, tables

SVG = "{http://www.w3.org/2000/svg}"
made = pytest.fixture(scope="module")(plots.plots)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_is_what_its_numbers_give(name: str) -> None:
    assert page.written(name) == tables.TABLES[name](), "run python -m tests.benchmarks.tables"


def test_the_plots_are_what_their_numbers_give(made: dict[str, str]) -> None:
    stored = {path.name: path.read_text("utf-8") for path in plots.PLACE.iterdir()}
    assert stored == made, "run python -m tests.benchmarks.plots"


def test_every_plot_is_on_the_page_and_told_in_words(made: dict[str, str]) -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(plots/([^)]+)\)", page.PAGE.read_text("utf-8"))
    assert sorted(name for _, name in shown) == sorted(made)
    assert all(len(told) > 40 for told, _ in shown)
    for svg in made.values():
        root = ElementTree.fromstring(svg)
        title = root.find(f"{SVG}title")
        assert root.get("role") == "img"
        assert title is not None
        assert title.text == root.get("aria-label")


def test_a_plot_asks_for_nothing_and_has_both_schemes(made: dict[str, str]) -> None:
    for svg in made.values():
        assert "prefers-color-scheme: dark" in svg
        assert not re.findall(r"(?:href|src|@import|url\()", svg)


def test_nothing_is_drawn_outside_its_picture(made: dict[str, str]) -> None:
    for name, svg in made.items():
        root = ElementTree.fromstring(svg)
        width, height = (float(v) for v in root.get("viewBox", "").split()[2:])
        for mark in root.iter(f"{SVG}circle"):
            x, y = float(mark.get("cx", "")), float(mark.get("cy", ""))
            assert 0 <= x <= width, name
            assert 0 <= y <= height, name
