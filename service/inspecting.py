"""What is known about a model; asks a worker to look at one nobody has looked at."""

from __future__ import annotations

from service import problems
from service.jobs.inspections import Inspections
from service.jobs.tables import Model
from service.schemas import InspectionError, InspectionView


def look_up(inspections: Inspections, model: Model) -> InspectionView:
    """The view of ``model``; pending until a worker has answered."""
    found = inspections.find(model.sha256)
    if found is None:
        inspections.ask(model.sha256, model.format)
        return InspectionView(state="pending", model_id=model.id)
    if (error := found.get("error")) is not None:
        told = InspectionError(title=problems.title_of(error["code"]), **error)
        return InspectionView(state="failed", model_id=model.id, error=told)
    return InspectionView(state="done", model_id=model.id, inspection=found["inspection"])
