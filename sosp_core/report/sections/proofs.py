"""The proofs that the job had to pass."""

from __future__ import annotations

from sosp_core.report.report import Report
from sosp_core.report.section import Section


def proofs(report: Report) -> Section:
    """The largest relative error of each."""
    rows = (
        ("Converted network = ONNX Runtime, on the original", report.checks.conversion),
        ("Slim model = masked original, before training", report.checks.surgery),
        ("Written model in ONNX Runtime = trained network", report.checks.write_back),
    )
    return Section(name="proofs", title="Proofs", facts={"rows": rows})
