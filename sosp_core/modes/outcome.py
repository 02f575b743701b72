"""What a job leaves in its output folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sosp_core.report.card import render_card
from sosp_core.report.page import render_html
from sosp_core.report.report import Report
from sosp_core.select.plan import Plan
from sosp_core.structures.structures import Structures


@dataclass(frozen=True)
class Outcome:
    """The files of a finished job, and the report as an object.

    Attributes:
        card: The model card of the slim model.
        exports: Further forms of it, if the recipe asked for them and they could be made.
    """

    model: Path
    report_json: Path
    report_html: Path
    plan: Path
    card: Path
    report: Report
    exports: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the job."""
        return (self.model, self.report_json, self.report_html, self.plan, self.card, *self.exports)


def save(
    out: Path,
    content: bytes,
    plan: Plan,
    structures: Structures,
    report: Report,
    exports: Mapping[str, bytes] = MappingProxyType({}),
) -> Outcome:
    """Write model, plan, report and further forms of the model into ``out``."""
    return save_files(out, content, plan.to_json(structures), report, exports)


def save_files(
    out: Path, content: bytes, plan: Mapping[str, Any], report: Report, exports: Mapping[str, bytes]
) -> Outcome:
    """As ``save``, the plan being ready for JSON."""
    out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(
        model=out / "model.onnx",
        report_json=out / "report.json",
        report_html=out / "report.html",
        plan=out / "plan.json",
        card=out / "MODEL_CARD.md",
        report=report,
        exports=tuple(out / name for name in exports),
    )
    outcome.model.write_bytes(content)
    outcome.plan.write_text(json.dumps(plan, indent=1))
    outcome.report_json.write_text(json.dumps(report.to_json(), indent=1))
    outcome.report_html.write_text(render_html(report), encoding="utf-8")
    outcome.card.write_text(render_card(report), encoding="utf-8")
    for name, form in exports.items():
        (out / name).write_bytes(form)
    return outcome
