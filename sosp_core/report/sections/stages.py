"""Where the time of the job went."""

from __future__ import annotations

from sosp_core.report.report import Report
from sosp_core.report.section import Section


def stages(report: Report) -> Section:
    """Seconds by stage."""
    longest = max(report.timings.values(), default=1.0) or 1.0
    rows = [(name, seconds, seconds / longest) for name, seconds in report.timings.items()]
    return Section(name="stages", title="Time by stage", facts={"rows": rows})
