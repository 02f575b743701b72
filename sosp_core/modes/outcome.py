"""What a job leaves in its output folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx

from sosp_core.errors import ModelError, OutputRejected
from sosp_core.ir.bfloat16 import holds_bfloat16
from sosp_core.ir.save import save_model
from sosp_core.report.card import render_card
from sosp_core.report.page import render_html
from sosp_core.report.pictures import save_pictures
from sosp_core.report.report import Report
from sosp_core.runtime.session import open_session
from sosp_core.select.plan import Plan
from sosp_core.stages.recover import Content
from sosp_core.structures.structures import Structures


@dataclass(frozen=True)
class Outcome:
    """The files of a finished job, and the report as an object.

    Attributes:
        card: The model card of the slim model.
        plots: The pictures of the report as SVG, in an archive.
        exports: Further forms of it, if the recipe asked for them and they could be made.
        weights: The weights, if one file cannot hold the model.
    """

    model: Path
    report_json: Path
    report_html: Path
    plan: Path
    card: Path
    plots: Path
    report: Report
    exports: tuple[Path, ...] = ()
    weights: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the job."""
        made = (self.report_json, self.report_html, self.plan, self.card, self.plots, *self.exports)
        return (self.model, *self.weights, *made)


def save(
    out: Path,
    content: Content,
    plan: Plan,
    structures: Structures,
    report: Report,
    exports: Mapping[str, Content] = MappingProxyType({}),
) -> Outcome:
    """Write model, plan, report and further forms of the model into ``out``."""
    return save_files(out, content, plan.to_json(structures), report, exports)


def save_files(
    out: Path,
    content: Content,
    plan: Mapping[str, Any],
    report: Report,
    exports: Mapping[str, Content],
) -> Outcome:
    """As ``save``, the plan being ready for JSON."""
    model, *weights = _save_model(content, out / "model.onnx")
    further = [path for name, form in exports.items() for path in _save_model(form, out / name)]
    outcome = Outcome(
        model=model,
        weights=tuple(weights),
        report_json=out / "report.json",
        report_html=out / "report.html",
        plan=out / "plan.json",
        card=out / "MODEL_CARD.md",
        plots=out / "plots.zip",
        report=report,
        exports=tuple(further),
    )
    outcome.plan.write_text(json.dumps(plan, indent=1))
    outcome.report_json.write_text(json.dumps(report.to_json(), indent=1))
    outcome.report_html.write_text(render_html(report), encoding="utf-8")
    outcome.card.write_text(render_card(report), encoding="utf-8")
    save_pictures(report, outcome.plots)
    return outcome


def _save_model(content: Content, path: Path) -> list[Path]:
    """One file; or the graph and a file of weights beside it, checked as they lie there.

    Raises:
        OutputRejected: The ONNX checker or ONNX Runtime objects.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
        return [path]
    files = save_model(content, path, one_file_below=0)
    try:
        onnx.checker.check_model(str(path), full_check=True)
        if not holds_bfloat16(content):
            open_session(path)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ModelError) as error:
        raise OutputRejected(reason=str(error).strip().splitlines()[0]) from error
    return files
