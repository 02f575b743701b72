"""A thread that tells the job store that this worker is alive."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from service.jobs import leases, queues
from service.jobs.database import Database
from service.settings import Settings

log = logging.getLogger(__name__)


class Beacon:
    """Beats every ``worker_beat_s`` from ``start`` to ``stop``."""

    def __init__(self, settings: Settings, worker: str) -> None:
        # Unpooled: the process that holds a beacon forks.
        self._presence = leases.Presence(Database(settings.database_url, pooled=False))
        self._every_s, self._worker = settings.worker_beat_s, worker
        self._queues = queues.parse(settings.queues)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Say that the worker is here, now and from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Say that the worker leaves."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(SQLAlchemyError):  # it will be noticed anyway, a little later
            self._presence.leave(self._worker)

    def _run(self) -> None:
        while True:
            try:
                self._presence.beat(self._worker, self._queues)
            except SQLAlchemyError as error:
                log.warning("cannot say that this worker is alive: %s", error)
            if self._done.wait(self._every_s):
                return
