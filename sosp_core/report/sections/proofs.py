"""The proofs that the job had to pass."""

from __future__ import annotations

from sosp_core.report.expansion import BOTTLENECKS
from sosp_core.report.report import Report
from sosp_core.report.section import Section


def proofs(report: Report) -> Section:
    """The largest relative error of each."""
    only_wider = report.expansion is not None and report.expansion.variants[0].name == BOTTLENECKS
    surgery = "Widened model = original" if only_wider else "Slim model = masked original"
    rows = (
        ("Converted network = ONNX Runtime, on the original", report.checks.conversion),
        (f"{surgery}, before training", report.checks.surgery),
        ("Written model in ONNX Runtime = trained network", report.checks.write_back),
    )
    return Section(name="proofs", title="Proofs", facts={"rows": rows})
