"""The published JSON schema of ``report.json``: readable without any numerical library."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def report_schema() -> dict[str, Any]:
    """The schema; a test holds it against what the code writes, field by field."""
    schema: dict[str, Any] = json.loads(
        files("sosp_core.report").joinpath("report.schema.json").read_text("utf-8")
    )
    return schema
