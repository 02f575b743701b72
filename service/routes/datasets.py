"""Uploaded calibration and evaluation data: ``/v1/datasets``."""

from __future__ import annotations

from fastapi import APIRouter

from service.jobs import ids
from service.routes import uploads
from service.sniff import check_data


def router() -> APIRouter:
    """The routes."""
    return uploads.build(
        "dataset",
        prefix=ids.DATASET,
        library=lambda parts: parts.datasets,
        check=lambda parts, path: check_data(path, parts.settings.max_unpacked_bytes),
    )
