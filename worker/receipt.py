"""A delivery is settled here whether or not the broker hears of it."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request
from kombu.transport import virtual


class Settled(Request):  # type: ignore[misc]
    """A request after whose end its worker may always receive the next message.

    A worker takes no message while one is unacknowledged. kombu keeps a message of Redis as such
    when Redis is away at the moment of the acknowledgement; Celery logs that and tries no more. As
    no connection waits for messages at that time, nothing else would notice either, and the worker
    would be deaf from then on. The message itself does not matter: if it is delivered again,
    there is no queued job for it.
    """

    def acknowledge(self) -> None:
        """Tell the broker, then take it as told."""
        if not self.acknowledged:
            try:
                super().acknowledge()
            finally:
                _forget(self.message)

    def reject(self, requeue: bool = False) -> None:
        """The same for a message that is given back."""
        if not self.acknowledged:
            try:
                super().reject(requeue=requeue)
            finally:
                _forget(self.message)


def _forget(message: Any) -> None:
    virtual.QoS.ack(message.channel.qos, message.delivery_tag)  # type: ignore[no-untyped-call]
