"""The doorbell: a message tells some worker that a job is queued. It carries the id, nothing else.

A lost message is rung again by the reaper, a repeated one finds no queued job: nothing depends on
the broker but how soon a job starts.
"""

from __future__ import annotations

import datetime
import logging
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from service.errors import CannotStart
from service.jobs.queues import address
from service.jobs.states import ANY

RUN_JOB = "sosp.run_job"
WEEK_S = 7 * 24 * 3600
#: Written to see whether one can write, and gone soon after.
PROBE, PROBE_S = "sosp.probe", 60

# A request waits for the message to be sent; the reaper has more time than that.
IMPATIENT = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.1}
BROKER_ERRORS = (OperationalError, SQLAlchemyError, OSError)

EXAMPLES = "it is given as redis://host:6379/0 or sqla+sqlite:////directory/broker.db"

log = logging.getLogger(__name__)


def celery_config(broker_url: str, longest_job_s: float = 0.0) -> dict[str, Any]:
    """The Celery settings both ends share."""
    return {
        "broker_url": broker_url,
        "broker_transport_options": _transport_options(broker_url, longest_job_s),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever: a worker outlasts its broker's absence
        "task_default_queue": address(ANY),
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
    }


def _transport_options(broker_url: str, longest_job_s: float) -> dict[str, Any]:
    if broker_url.startswith("redis"):
        # Longer than any job: kombu does not renew, and would deliver a running job again, for
        # nothing. What a dead worker held is found by its lease instead.
        visible_after_s = max(WEEK_S, 2 * longest_job_s)
        return {"visibility_timeout": visible_after_s, "socket_timeout": 10, "socket_connect_timeout": 5}
    return {"connect_args": {"timeout": 30}} if _is_sqlite(broker_url) else {}


def _is_sqlite(broker_url: str) -> bool:
    return broker_url.startswith(("sqla+sqlite", "sqlalchemy+sqlite"))


class Doorbell:
    """The sending end of the broker."""

    def __init__(self, broker_url: str) -> None:
        """Connect lazily.

        Raises:
            CannotStart: It is no URL of a broker, or its library is not installed.
        """
        self._url = broker_url
        self._celery = Celery("sosp", set_as_current=False)
        config = celery_config(broker_url)
        config["broker_transport_options"] |= IMPATIENT
        self._celery.conf.update(config)
        try:
            self._celery.connection_for_write().release()
        except (LookupError, ImportError, TypeError, ValueError) as error:
            reason = f"the broker cannot be used: {error.args[0]}; {EXAMPLES}"
            raise CannotStart(reason=reason) from error

    def ring(self, job_id: str, queue: str = ANY) -> bool:
        """Announce a queued job; False if the broker does not answer."""
        try:
            self._celery.send_task(RUN_JOB, args=[job_id], queue=address(queue), retry=False)
        except BROKER_ERRORS as error:
            log.warning("the broker did not take the message for %s: %s", job_id, error)
            return False
        return True

    def answers(self) -> bool:
        """Whether the broker can be reached now and takes messages."""
        with self._celery.connection_for_write() as connection:
            # Redis itself may answer that it is still loading, or forbids this: errors of its library.
            theirs = (*connection.connection_errors, *connection.channel_errors)
            try:
                connection.default_channel.queue_declare(queue=address(ANY))
                if self._url.startswith("redis"):  # which may answer and yet refuse whatever needs memory
                    connection.default_channel.client.set(PROBE, 1, ex=PROBE_S)
            except (*BROKER_ERRORS, *theirs) as error:
                log.warning("the broker takes no message: %s", error)
                return False
        return True

    def prune(self, older_than: datetime.timedelta = datetime.timedelta(days=1)) -> None:
        """Remove delivered messages that a SQL broker would keep for ever."""
        if not self._url.startswith(("sqla+", "sqlalchemy+")):
            return
        engine = create_engine(self._url.partition("+")[2])
        try:
            if inspect(engine).has_table("kombu_message"):
                delivered = text("DELETE FROM kombu_message WHERE NOT visible AND timestamp < :before")
                with engine.begin() as connection:
                    # kombu stamps deliveries in local time.
                    connection.execute(delivered, {"before": datetime.datetime.now() - older_than})
        finally:
            engine.dispose()

    def close(self) -> None:
        """Give back the connections."""
        self._celery.close()
