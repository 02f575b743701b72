"""What a model is and what could be removed from it: ``/v1/models/{id}/inspection``."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service import inspecting
from service.deps import PartsDep
from service.schemas import InspectionView

RETRY_AFTER_S = "1"

router = APIRouter(prefix="/v1/models/{id}/inspection", tags=["models"])


@router.get("", responses={202: {"model": InspectionView, "description": "A worker is looking."}})
def inspection(id: str, response: Response, parts: PartsDep) -> InspectionView:
    """Say what a model is, what it costs, what could be removed and what would stop a job.

    The first time somebody asks about a file a worker looks at it: 202 until it has.
    """
    view = inspecting.look_up(parts.inspections, parts.models.get(id))
    if view.state == "pending":
        response.status_code = 202
        response.headers["Retry-After"] = RETRY_AFTER_S
    return view
