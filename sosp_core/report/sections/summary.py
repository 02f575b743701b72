"""Before and after, as a table and in large figures."""

from __future__ import annotations

from sosp_core.report.report import Report
from sosp_core.report.section import Section


def summary(report: Report) -> Section:
    """The table that a decision needs."""
    return Section(name="summary", title="Before and after", facts={"rows": report.rows()})
