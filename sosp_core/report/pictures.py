"""The plots of the page as files of their own: SVG that any viewer and any paper takes."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from sosp_core.report.report import Report
from sosp_core.report.sections import SECTIONS

#: Of every entry, so that the same report makes the same archive.
EPOCH = (1980, 1, 1, 0, 0, 0)
VARIABLE = re.compile(r"var\(--(\w+)\)")


def pictures(report: Report) -> dict[str, str]:
    """Every plot by its file name: its section, numbered where that has several."""
    made: dict[str, str] = {}
    for make in SECTIONS:
        section = make(report)
        plots = list(_plots(section.facts)) if section is not None else []
        for number, plot in enumerate(plots, 1):
            name = f"{make.__name__}-{number}" if len(plots) > 1 else make.__name__
            made[f"{name}.svg"] = alone(plot)
    return made


def save_pictures(report: Report, path: Path) -> None:
    """All plots in one archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, svg in pictures(report).items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), svg, zipfile.ZIP_DEFLATED)


def alone(plot: Markup) -> str:
    """A plot with its style inside, in the light colours of the page, on a ground of its own.

    Colours are written out: viewers other than browsers know no variables.
    """
    page, *styles = (_template(name) for name in ("style.css", "plots.css", "network.css"))
    light: dict[str, str] = {}
    for name, colour in re.findall(r"--(\w+): (#\w+)", page):
        light.setdefault(name, colour)
    style = VARIABLE.sub(lambda match: light[match[1]], "".join(styles))
    ground = f'<rect width="100%" height="100%" fill="{light["paper"]}"/>'
    opening, _, rest = plot.partition(">")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}><style>{style}</style>{ground}{rest}\n'


def _plots(facts: dict[str, object]) -> Iterator[Markup]:
    for value in (facts.get("plot"), facts.get("plots")):
        members = value if isinstance(value, list) else [value]
        yield from (plot for plot in members if isinstance(plot, Markup))


def _template(name: str) -> str:
    return files("sosp_core.report").joinpath("templates", name).read_text("utf-8")
