"""Health check of a worker's container: exit 0 if a worker of this host was heard of lately.

Workers say so themselves in the job database; Celery's ``inspect ping`` would start for seconds,
and get no answer from a worker whose remote control is off.
"""

from __future__ import annotations

import socket
import sys

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.jobs.database import Database
from service.jobs.tables import Worker, clock
from service.settings import Settings


def seen(settings: Settings, host: str) -> bool:
    """Whether a worker of ``host`` was heard of within ``worker_ttl_s``."""
    ours = Worker.name.startswith(f"{host}:", autoescape=True)
    lately = Worker.seen_at > clock() - settings.worker_ttl_s
    with Database(settings.database_url, pooled=False).read() as session:
        return session.scalar(select(Worker.name).where(ours, lately).limit(1)) is not None


def main() -> None:
    """Look, and exit."""
    host = socket.gethostname()
    try:
        alive = seen(Settings(), host)
    except SQLAlchemyError as error:
        sys.exit(f"the job database does not answer: {error}")
    if not alive:
        sys.exit(f"no worker of {host} was heard of lately")


if __name__ == "__main__":
    main()
