"""How fast one may ask: a budget for each, refilled steadily."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MINUTE_S = 60.0
MOST_KNOWN = 10_000


class Pace:
    """At most ``per_minute`` requests at once, and as many in each minute, for each asker.

    Held in this process: behind several API processes each has its own count.
    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._each_s, self._now = MINUTE_S / per_minute, now
        self._due: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, who: str) -> float:
        """Count one request; 0 if it may go on, else the seconds until one may."""
        now = self._now()
        due = max(self._due.get(who, now), now) + self._each_s
        if (late := due - now - MINUTE_S) > 1e-9:
            return late
        self._due[who] = due
        self._due.move_to_end(who)
        if len(self._due) > MOST_KNOWN:
            self._due.popitem(last=False)
        return 0.0
