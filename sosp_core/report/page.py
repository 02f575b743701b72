"""The report as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from sosp_core.report.report import Report
from sosp_core.report.sections import SECTIONS


def render_html(report: Report) -> str:
    """Fill the templates. Every name that came with the model is escaped."""
    environment = Environment(
        loader=PackageLoader("sosp_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [section for make in SECTIONS if (section := make(report)) is not None]
    page: str = environment.get_template("report.html").render(report=report, sections=sections)
    return page
