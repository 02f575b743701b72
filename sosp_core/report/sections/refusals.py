"""What could not be pruned."""

from __future__ import annotations

from sosp_core.report.report import Report
from sosp_core.report.section import Section


def refusals(report: Report) -> Section | None:
    """Every refusal with its reason."""
    if not report.refusals:
        return None
    return Section(name="refusals", title="What stayed, and why", facts={"lines": report.refusals})
