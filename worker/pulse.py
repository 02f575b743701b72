"""The heartbeat of one attempt: keeps its lease, and learns when to stop."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from service.jobs.leases import Claim, Leases
from service.settings import Settings

log = logging.getLogger(__name__)


class Pulse:
    """A thread that renews the lease of ``claim`` for as long as the ``with`` block runs.

    Attributes:
        lost: The lease is no longer ours, or could not be renewed for as long as it lasts.
        cancelled: The user asked to stop.
    """

    def __init__(self, leases: Leases, claim: Claim, settings: Settings) -> None:
        self.lost, self.cancelled = threading.Event(), threading.Event()
        self._leases, self._claim, self._settings = leases, claim, settings
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        settings = self._settings
        renewed = time.monotonic()
        while not self._done.wait(min(settings.cancel_poll_s, settings.heartbeat_s)):
            try:
                renewed = self._beat(renewed)
            except SQLAlchemyError as error:
                log.warning("%s: cannot renew the lease: %s", self._claim.job_id, error)
            if self.lost.is_set() or time.monotonic() - renewed > settings.lease_s:
                self.lost.set()
                return

    def _beat(self, renewed: float) -> float:
        """Look for a cancel request and renew the lease if it is time; return when it was renewed."""
        if self._leases.cancel_requested(self._claim):
            self.cancelled.set()
        now = time.monotonic()
        if now - renewed < self._settings.heartbeat_s:
            return renewed
        if not self._leases.renew(self._claim):
            self.lost.set()
        return now
