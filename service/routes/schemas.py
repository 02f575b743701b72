"""JSON schemas of what goes in and comes out: ``/v1/schemas``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from service import recipes
from sosp_core.report.schema import report_schema

MEDIA_TYPE = "application/schema+json"

router = APIRouter(prefix="/v1/schemas", tags=["schemas"])


class SchemaResponse(JSONResponse):
    """A JSON schema; it changes with the version of the service only."""

    media_type = MEDIA_TYPE


@router.get("/report", response_class=SchemaResponse)
def report() -> dict[str, Any]:
    """Show the JSON schema of report.json."""
    return report_schema()


@router.get("/recipe", response_class=SchemaResponse)
def recipe() -> dict[str, Any]:
    """Show the JSON schema of a recipe."""
    return recipes.schema()
