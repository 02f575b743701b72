"""``/`` and ``/models/{id}``: bring a model and data, see what the model is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service import inspecting
from service.deps import Parts, PartsDep
from service.schemas import JobView, UploadView
from service.web.rendering import render
from service.web.views.jobs import JobCard
from service.web.views.models import ModelCard

RECENT = 6

router = APIRouter(include_in_schema=False)


@router.get("/")
def start(request: Request, parts: PartsDep) -> Response:
    """Ask for a model and data; offer what was brought before."""
    recent = [JobCard.of(JobView.of(job), parts) for job in parts.jobs.page(limit=RECENT)]
    return render(
        request,
        "start.html",
        models=[UploadView.of(row) for row in parts.models.page(limit=20)],
        datasets=[UploadView.of(row) for row in parts.datasets.page(limit=20)],
        recent=recent,
        alive=parts.presence.alive(parts.settings.worker_ttl_s),
        most=parts.settings.max_upload_bytes,
    )


@router.get("/models/{id}")
def model(id: str, request: Request, parts: PartsDep) -> Response:
    """Show what a model is."""
    upload, card = look(parts, id)
    return render(request, "model.html", upload=upload, card=card)


@router.get("/models/{id}/card")
def card(id: str, request: Request, parts: PartsDep) -> Response:
    """The same without the page around it; 202 while a worker is looking."""
    upload, found = look(parts, id)
    return render(request, "_model.html", 202 if found is None else 200, upload=upload, card=found)


def look(parts: Parts, id: str) -> tuple[UploadView, ModelCard | None]:
    """A model and what is known about it."""
    row = parts.models.get(id)
    upload = UploadView.of(row)
    return upload, ModelCard.of(upload, inspecting.look_up(parts.inspections, row))
