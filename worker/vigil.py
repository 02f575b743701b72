"""A thread that ends a worker which hears its queues no more, for its supervisor to start it anew.

A consumer may be stuck in a process that lives on and says so. Whatever the cause, it shows: a job is
announced once more, this worker could take it, and no message arrives.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from service.jobs import queues
from service.jobs.database import Database
from service.jobs.messages import Doorbell
from service.jobs.unheard import Lookout
from service.rounds import unbroken
from service.settings import Settings

#: How a worker ends that hears nothing; EX_TEMPFAIL of sysexits.h.
DEAF = 75
#: So many looks in a row find the same job. Looks rather than seconds: a process that was
#: suspended has not listened meanwhile, and nothing can be told from that time.
LOOKS = 6
#: A worker lives at least this many times ``deaf_after_s``, lest one that no restart helps
#: were restarted all the time.
LIVES = 5
#: Time for an orderly end. What keeps a worker from listening may keep it from ending, too.
END_GRACE_S = 15.0

log = logging.getLogger(__name__)


@dataclass
class Unheard:
    """A job that waits, and how often it was seen since it was announced at ``first``."""

    first: float
    last: float
    looks: int = 0

    @property
    def proves(self) -> bool:
        """It was there long enough and announced again, so the one who announces is alive."""
        return self.looks > LOOKS and self.last > self.first


class Vigil:
    """Watches from ``start`` to ``stop``; calls ``end`` when this worker is deaf."""

    def __init__(self, settings: Settings, worker: str, end: Callable[[], None]) -> None:
        # Unpooled: the process that keeps a vigil forks.
        self._lookout = Lookout(
            db=Database(settings.database_url, pooled=False),
            worker=worker,
            queues=queues.parse(settings.queues),
            max_running_jobs=settings.max_running_jobs,
        )
        self._broker_url, self._end = settings.broker_url, end
        self._every_s = settings.deaf_after_s / LOOKS
        self._young = LIVES * LOOKS
        self._unheard: dict[str, Unheard] = {}
        self._heard, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="vigil", daemon=True)

    def start(self) -> None:
        """Watch from now on, unless the settings say not to."""
        if self._every_s:
            self._thread.start()

    def stop(self) -> None:
        """The worker ends."""
        self._done.set()

    def hear(self) -> None:
        """A message arrived."""
        self._heard.set()

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            self._young = max(0, self._young - 1)
            with unbroken("looking for jobs that wait unheard", SQLAlchemyError):
                if self._deaf() and not self._young and self._broker_answers() and self._deaf():
                    self._leave()
                    return

    def _deaf(self) -> bool:
        """Look once more; whether some job has proved by now that we hear nothing."""
        known, self._unheard = self._unheard, {}  # a look that fails proves nothing of those before it
        look = self._lookout.look()
        if self._heard.is_set() or look.busy:
            self._heard.clear()
            return False
        self._unheard = {job: known.get(job, Unheard(at, at)) for job, at in look.waiting.items()}
        for job, unheard in self._unheard.items():
            unheard.looks, unheard.last = unheard.looks + 1, look.waiting[job]
        return any(unheard.proves for unheard in self._unheard.values())

    def _broker_answers(self) -> bool:
        doorbell = Doorbell(self._broker_url)
        try:
            return doorbell.answers()
        finally:
            doorbell.close()

    def _leave(self) -> None:
        """End this worker; should it hold a job by now, only once that is given back."""
        waits = "%d jobs wait, are announced and not heard here; this worker ends with status %d"
        log.error(waits, sum(unheard.proves for unheard in self._unheard.values()), DEAF)
        self._end()
        while not self._done.wait(END_GRACE_S):
            if not self._holds_a_job():
                logging.shutdown()
                os._exit(DEAF)

    def _holds_a_job(self) -> bool:
        try:
            return self._lookout.look().busy
        except SQLAlchemyError as error:
            log.warning("cannot look whether this worker holds a job: %s", error)
            return True
