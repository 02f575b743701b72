"""Further forms of the slim model, measured like it."""

from __future__ import annotations

from sosp_core import units
from sosp_core.report.report import Report
from sosp_core.report.section import Section
from sosp_core.report.sections.latency import setting


def exports(report: Report) -> Section | None:
    """A row for each form and each setting of the benchmark."""
    if not report.exports:
        return None
    rows = [(form, setting(c), c) for form in report.exports for c in form.benchmark]
    facts = {"rows": rows, "slim": report.quality_after, "size": units.size}
    return Section(name="exports", title="Further forms of the slim model", facts=facts)
