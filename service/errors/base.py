"""What every error of the service is."""

from __future__ import annotations

from sosp_core.errors import SospError


class ServiceError(SospError):
    """Base of what goes wrong around a compression rather than in it."""
