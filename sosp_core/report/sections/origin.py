"""What is needed to do it again: recipe, versions, machine."""

from __future__ import annotations

import json

from sosp_core.report.report import Report
from sosp_core.report.section import Section


def origin(report: Report) -> Section:
    """The recipe in full, and what it ran on."""
    facts = {
        "recipe": json.dumps(report.recipe, indent=1),
        "versions": report.versions,
        "machine": report.machine,
        "sha256": report.model_sha256,
    }
    return Section(name="origin", title="How to do it again", facts=facts)
