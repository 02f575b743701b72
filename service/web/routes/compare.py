"""``/compare``: several jobs side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.deps import PartsDep
from service.schemas import JobView
from service.web.rendering import render
from service.web.routes.jobs import result_of
from service.web.views.comparison import MOST, Comparison
from service.web.views.jobs import JobCard

router = APIRouter(include_in_schema=False)


@router.get("/compare")
def compare(
    request: Request,
    parts: PartsDep,
    job: Annotated[list[str], Query()] = [],  # noqa: B006  read only
) -> Response:
    """Compare up to eight jobs."""
    rows = [parts.jobs.get(id) for id in dict.fromkeys(job[:MOST])]
    told = [(JobCard.of(JobView.of(row), parts), result_of(parts, row)) for row in rows]
    return render(request, "compare.html", comparison=Comparison.of(told), most=MOST)
