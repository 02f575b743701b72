"""The report as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader

from sosp_core.report.report import Report


def render_html(report: Report) -> str:
    """Fill the template. Every name that came with the model is escaped."""
    environment = Environment(
        loader=PackageLoader("sosp_core.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page: str = environment.get_template("report.html").render(report=report, facts=report.to_json())
    return page
