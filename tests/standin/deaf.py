"""``python -m deaf``: a worker that is there, says so, and takes no message from any queue."""

from __future__ import annotations

from typing import Any

from celery import signals

from worker.__main__ import main


def stop_listening(sender: Any, **kwargs: Any) -> None:
    for queue in list(sender.app.amqp.queues.consume_from):
        sender.cancel_task_queue(queue)


signals.worker_ready.connect(stop_listening)
main()
