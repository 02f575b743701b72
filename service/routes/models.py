"""Uploaded networks: ``/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter

from service.jobs import ids
from service.routes import uploads
from service.sniff import check_model


def router() -> APIRouter:
    """The routes."""
    return uploads.build(
        "model",
        prefix=ids.MODEL,
        library=lambda parts: parts.models,
        check=lambda parts, path: check_model(path),
    )
