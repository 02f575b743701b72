"""The files a job made: ``/v1/jobs/{id}/artifacts``."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, Response

from service.deps import Parts, PartsDep
from service.errors import NotFound, RangeUnsatisfiable
from service.jobs.artifacts import Artifact, media_type
from service.jobs.tables import Job
from service.schemas import ArtifactList, JobView

# A report shows its own styles and pictures, and may do nothing else.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"])


@router.get("")
def artifacts(job_id: str, parts: PartsDep) -> ArtifactList:
    """List what a job made; nothing until it succeeded."""
    return ArtifactList(items=JobView.of(parts.jobs.get(job_id)).artifacts)


@router.get("/{name}", response_class=FileResponse, responses={206: {}, 304: {}, 416: {}})
def artifact(
    job_id: str,
    name: str,
    request: Request,
    parts: PartsDep,
    if_none_match: Annotated[str, Header()] = "",
    range: Annotated[str, Header()] = "",
    if_range: Annotated[str, Header()] = "",
) -> Response:
    """Download one file, or a range of it."""
    job = parts.jobs.get(job_id)
    found = _find(job, name)
    tag = f'"{found.sha256}"'
    if tag in if_none_match:
        return Response(status_code=304, headers={"ETag": tag})
    unit, _, spans = range.partition("=")
    if request.method == "GET" and unit.strip().lower() == "bytes" and if_range in {"", tag}:
        _check_spans(spans, found.size)
    else:  # RFC 9110, 13.1.5 and 14.2: as if there were none, which FileResponse does not know of all
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    return _file(parts, job, found, tag)


def _find(job: Job, name: str) -> Artifact:
    for record in job.artifacts:
        if record["name"] == name:
            return Artifact(**record)
    raise NotFound(kind="artifact", id=name)


def _file(parts: Parts, job: Job, found: Artifact, tag: str) -> FileResponse:
    inline = found.name == "report.html"
    return FileResponse(
        parts.artifacts.require(job.id, job.fence, found.name),
        filename=found.name,
        media_type=media_type(found.name),
        content_disposition_type="inline" if inline else "attachment",
        headers={
            "ETag": tag,
            "Cache-Control": "private, no-cache",
            "Content-Security-Policy": REPORT_POLICY if inline else "default-src 'none'",
        },
    )


def _check_spans(text: str, size: int) -> None:
    """Refuse what no part of the file can answer; the rest is FileResponse's to serve."""
    spans = re.fullmatch(r"\s*((?:\d{0,18}-\d{0,18}\s*,?\s*)+)", text, re.ASCII)
    for start, end in re.findall(r"(\d*)-(\d*)", spans[1]) if spans else [("", "")]:
        within = start and int(start) < size and (not end or int(start) <= int(end))
        if not (within or (not start and end and int(end) > 0)):
            raise RangeUnsatisfiable(size=size)
