"""The Celery application of a worker. Nothing happens at import; ``create_worker`` builds it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals
from celery.worker import state

from service import logs
from service.jobs.database import Database
from service.jobs.messages import celery_config
from service.settings import Settings
from service.tracing import Traces
from worker import tasks
from worker.inspector import Inspector
from worker.presence import Beacon
from worker.vigil import DEAF, Vigil


def create_worker(settings: Settings) -> Celery:
    """A worker that runs one job at a time.

    Messages are acknowledged late and never prefetched, so that a job waits for a free worker
    rather than behind a busy one. Lost jobs come back by their lease, not by the broker: Celery's
    own ways of redelivery are off, so that one counter bounds the attempts.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    Traces.of(settings, "sosp-worker").close()  # fails here, rather than at each job, if it cannot work
    db = Database(settings.database_url, pooled=False)
    db.migrate()
    db.close()
    app = Celery("sosp")
    app.conf.update(celery_config(settings.broker_url, settings.job_time_limit_s) | _worker_config())
    worker = f"{socket.gethostname()}:{os.getpid()}"
    # Shared with the pool's process, which is forked later; a lock could be held by a dead one.
    stopping = multiprocessing.RawValue("b", 0)
    tasks.register(app, settings, worker=worker, stopping=lambda: bool(stopping.value))
    signals.setup_logging.connect(lambda **kwargs: logs.configure(settings), weak=False)
    _announce(Beacon(settings, worker), Inspector(settings), stopping)
    _watch(Vigil(settings, worker, lambda: _end_deaf(stopping)))
    return app


def run(app: Celery, options: Sequence[str]) -> int:
    """Work until told to stop; gives the status to end with."""
    status = 0

    def on_shutdown(sender: Any, **kwargs: Any) -> None:
        nonlocal status
        status = sender.exitcode or 0

    signals.worker_shutdown.connect(on_shutdown, weak=False)
    app.worker_main(["--quiet", "worker", *options])
    return status


def _worker_config() -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        "worker_enable_remote_control": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }


def _announce(beacon: Beacon, inspector: Inspector, stopping: Any) -> None:
    """Be present, and look at models, from start to end; hand a running job back when asked to end."""

    def on_ready(**kwargs: Any) -> None:
        beacon.start()
        inspector.start()

    def on_shutting_down(**kwargs: Any) -> None:
        stopping.value = 1

    def on_shutdown(**kwargs: Any) -> None:
        inspector.stop()
        beacon.stop()

    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)


def _watch(vigil: Vigil) -> None:
    """Keep a vigil from start to end."""
    signals.worker_ready.connect(lambda **kwargs: vigil.start(), weak=False)
    signals.task_received.connect(lambda **kwargs: vigil.hear(), weak=False)
    signals.worker_shutdown.connect(lambda **kwargs: vigil.stop(), weak=False)


def _end_deaf(stopping: Any) -> None:
    """End in order: nothing is taken up any more, and a job that was just now is given back."""
    stopping.value = 1
    state.should_stop = DEAF
