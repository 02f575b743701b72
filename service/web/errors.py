"""Errors for people: a page where a browser asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from service.problems import Problem
from service.web.paths import SIGN_IN
from service.web.rendering import render

# What one can do about it, by status.
ADVICE: Mapping[int, str] = {
    403: "Go back, load the page again and repeat what you did.",
    404: "It may have been deleted, or it belongs to another key.",
    409: "Look at the job's page: its state has changed since this page was loaded.",
    413: "Delete what you no longer need, or ask whoever runs this service for more room.",
    421: "Open this service by the address of this machine, or make an API key.",
    422: "Go back and correct what is named above.",
    429: "Wait a moment, then try again.",
    500: "This is not your fault. The id below finds the details in the server's log.",
    503: "It usually passes by itself. Try again in a moment.",
    507: "Whoever runs this service has to free some disk space.",
}


def wants_page(request: Request) -> bool:
    """Whether whoever asks would rather read HTML than JSON."""
    return "text/html" in request.headers.get("accept", "")


def page(request: Request, problem: Problem, headers: Mapping[str, str]) -> Response:
    """The problem as a page; who is not signed in is asked to do that first."""
    if problem.status == 401 and request.method == "GET":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{SIGN_IN}?next={quote(target)}", 303, {"Vary": "Accept, Cookie"})
    advice = ADVICE.get(problem.status, "")
    return render(request, "problem.html", problem.status, headers, problem=problem, advice=advice)
