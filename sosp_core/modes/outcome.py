"""What a job leaves in its output folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sosp_core.report.page import render_html
from sosp_core.report.report import Report
from sosp_core.select.plan import Plan
from sosp_core.structures.structures import Structures


@dataclass(frozen=True)
class Outcome:
    """The files of a finished job, and the report as an object."""

    model: Path
    report_json: Path
    report_html: Path
    plan: Path
    report: Report


def save(out: Path, content: bytes, plan: Plan, structures: Structures, report: Report) -> Outcome:
    """Write model, plan and report into ``out``."""
    return save_files(out, content, plan.to_json(structures), report)


def save_files(out: Path, content: bytes, plan: Mapping[str, Any], report: Report) -> Outcome:
    """Write model, plan and report into ``out``, the plan being ready for JSON."""
    out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(
        model=out / "model.onnx",
        report_json=out / "report.json",
        report_html=out / "report.html",
        plan=out / "plan.json",
        report=report,
    )
    outcome.model.write_bytes(content)
    outcome.plan.write_text(json.dumps(plan, indent=1))
    outcome.report_json.write_text(json.dumps(report.to_json(), indent=1))
    outcome.report_html.write_text(render_html(report), encoding="utf-8")
    return outcome
