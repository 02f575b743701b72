"""A thread that looks at models people ask about, beside whatever job its worker runs."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from service.errors import TimeLimitExceeded, UploadDamaged
from service.jobs.blobs import Blobs
from service.jobs.failure import tell
from service.jobs.inspections import Inspections, Request, may_pass
from service.rounds import unbroken
from service.settings import Settings
from sosp_core.checkpoints import CheckpointFolder
from sosp_core.errors import SospError
from worker.confine import Limits
from worker.process import Child
from worker.wire import INSPECTION

POLL_S = 0.5
LIMIT_S = 600.0

log = logging.getLogger(__name__)


class Inspector:
    """Answers requests, one at a time, from ``start`` to ``stop``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._blobs = Blobs(settings.data_dir, floor=settings.free_space_floor_bytes)
        self._requests = Inspections(settings.data_dir)
        self._done = threading.Event()
        # A child dies with the thread that starts it, so this thread stays until the end.
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)

    def start(self) -> None:
        """Begin to look for requests."""
        self._thread.start()

    def stop(self) -> None:
        """Leave what is not answered yet to others."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(POLL_S):
            with unbroken("inspecting a model", OSError, SospError):
                if (request := self._requests.take()) is not None:
                    self._answer(request)

    def _answer(self, request: Request) -> None:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="inspect-", dir=self._blobs.temporary) as place:
            try:
                found = self._look(request, Path(place))
            except SospError as error:
                found = {"error": tell(error)}
        if found is None:
            self._requests.release(request)
            return
        if may_pass(found) and self._requests.again(request):
            log.warning("%s will be looked at again: %s", request.sha256[:12], found["error"]["detail"])
            return
        self._requests.settle(request, found)
        log.info("inspected %s in %.1f s", request.sha256[:12], time.monotonic() - began)

    def _look(self, request: Request, work: Path) -> dict[str, Any] | None:
        """What the child found, or why it found nothing; None if this worker shuts down."""
        if not self._blobs.intact(request.sha256):
            raise UploadDamaged(kind="model", id=request.sha256)
        out, model = work / "out", work / f"model.{request.format}"
        out.mkdir()
        model.symlink_to(self._blobs.path(request.sha256))
        deadline, result = time.monotonic() + LIMIT_S, None
        limits, log_bytes = Limits.of(self._settings), self._settings.job_log_bytes
        kept = CheckpointFolder(work / "checkpoints", 0.0)  # nothing is kept of a look
        with Child(work, {"model": model}, None, limits, kept, log_bytes=log_bytes) as child:
            while result is None and not child.ended():
                result = next(child.messages(POLL_S), None)
                if self._done.is_set():
                    return None
                if time.monotonic() > deadline:
                    raise TimeLimitExceeded(limit_s=LIMIT_S)
            result = result or next(child.last_messages(), None)
            match result:
                case {"error": dict(error)}:
                    return {"error": error}
                case {"done": _}:
                    return {"inspection": json.loads((out / INSPECTION).read_text("utf-8"))}
            return {"error": tell(child.reason())}
