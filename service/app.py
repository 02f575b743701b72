"""The web application. Nothing happens at import; ``create_app`` builds it from settings."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service import handlers, heads, logs
from service.deps import BEARER, Parts, assemble
from service.errors import CannotStart
from service.guard import Guard
from service.jobs.messages import BROKER_ERRORS
from service.middleware import RequestContext
from service.problems import Problem
from service.rounds import unbroken
from service.routes import (
    artifacts,
    datasets,
    docs,
    health,
    inspections,
    jobs,
    models,
    recipes,
    resumable,
    schemas,
)
from service.settings import Settings
from service.tracing import Traces
from service.web.routes import PAGES

LARGEST_JSON = 2**20
UPLOADS = frozenset({"/v1/models", "/v1/datasets", "/v1/uploads/"})
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "There is no valid key."},
    429: {"model": Problem, "description": "Too many requests, or jobs."},
}

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, traces: Traces | None = None) -> FastAPI:
    """The application for ``settings``, by default those of the environment.

    Args:
        settings: What the installation is told.
        traces: Where spans go instead of to the collector of the settings.

    Raises:
        CannotStart: The settings ask for what is not installed, or does not fit together.
    """
    settings = settings or Settings()
    spans = traces or Traces.of(settings, "sosp-api")
    parts = assemble(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(parts.settings)
        _keep_what_is_loaded()
        chores = [asyncio.create_task(_keep_house(parts))]
        if parts.callbacks.policy.origins:
            chores.append(asyncio.create_task(_call_back(parts)))
        yield
        for chore in chores:
            chore.cancel()
            with suppress(asyncio.CancelledError):
                await chore
        parts.close()
        await run_in_threadpool(spans.close)

    app = FastAPI(
        title="SOSP",
        summary="ONNX model and unlabelled data in; a slim, measured ONNX model out.",
        version=version("sosp"),
        docs_url=None,  # FastAPI's own pages fetch their scripts from elsewhere; see routes.docs
        redoc_url=None,
        lifespan=lifespan,
        telemetry=spans.of_requests(),
        responses={"default": {"model": Problem, "description": "A problem, by RFC 9457."}},
    )
    app.state.parts = parts
    app.add_middleware(
        Guard,
        keys=parts.keys,
        sessions=parts.sessions,
        require_keys=parts.settings.require_keys or parts.keys.any(),
        per_minute=parts.settings.requests_per_minute,
    )
    app.add_middleware(
        RequestContext,
        max_body_bytes=LARGEST_JSON,
        streaming=UPLOADS,
        patience_s=parts.settings.body_patience_s,
        metrics=parts.metrics,
    )
    handlers.install(app)
    public = (
        models.router(),
        inspections.router,
        datasets.router(),
        resumable.router,
        jobs.router,
        artifacts.router,
        recipes.router,
    )
    for router in public:
        app.include_router(router, dependencies=[BEARER], responses=REFUSALS)
    open_or_pages = (health.router, docs.router, schemas.router, *PAGES)
    for router in open_or_pages:
        app.include_router(router)
    for router in (*public, *open_or_pages):
        app.include_router(heads.of(router))
    return app


def _keep_what_is_loaded() -> None:
    """Have the garbage collector pass over the modules from now on.

    Looking at all of them takes it a tenth of a second, in which no request is answered.
    """
    gc.collect()
    gc.freeze()


async def _call_back(parts: Parts) -> None:
    """Deliver what is due; apart from the housekeeping, which must not wait for other servers."""
    while True:
        with unbroken("callbacks", SQLAlchemyError):
            await run_in_threadpool(parts.callbacks.deliver)
        await asyncio.sleep(parts.settings.reap_interval_s)


async def _keep_house(parts: Parts) -> None:
    """Sweep for lost jobs, and less often for files nobody needs, while the application runs."""
    clean_at = 0.0
    while True:
        with unbroken("housekeeping", SQLAlchemyError, OSError, CannotStart, *BROKER_ERRORS):
            await run_in_threadpool(parts.reaper.sweep)
            if time.monotonic() >= clean_at:
                clean_at = time.monotonic() + parts.settings.gc_interval_s
                await run_in_threadpool(parts.doorbell.prune)
                swept = await run_in_threadpool(parts.upkeep.sweep)
                log.info("removed what nothing refers to: %s", swept)
        await asyncio.sleep(parts.settings.reap_interval_s)
