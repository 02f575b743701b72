"""The addresses of the pages; each route parses, asks the parts, and renders."""

from __future__ import annotations

from fastapi import FastAPI

from service.web.routes import assets, compare, jobs, new, session, start


def install(app: FastAPI) -> None:
    """Serve the pages beside the API."""
    for module in (assets, session, start, new, jobs, compare):
        app.include_router(module.router)
