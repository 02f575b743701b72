"""The Celery application of a worker. Nothing happens at import; ``create_worker`` builds it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from typing import Any

from celery import Celery, signals

from service import logs
from service.jobs.database import Database
from service.jobs.messages import celery_config
from service.settings import Settings
from service.tracing import Traces
from worker import tasks
from worker.inspector import Inspector
from worker.presence import Beacon


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
    return app


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
