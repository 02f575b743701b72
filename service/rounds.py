"""Work in the background goes on round after round, whatever ends one of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def unbroken(what: str, *expected: type[Exception]) -> Iterator[None]:
    """One round: an error ends the round, is logged, and goes no further.

    Args:
        what: The work, as the log calls it.
        expected: Errors of parts that are away for a while; any other is logged with its traceback.
    """
    try:
        yield
    except expected as error:
        log.warning("%s: %s; the next round tries again", what, error)
    # Nobody awaits these threads and tasks: one that ended would not be noticed, and what it does,
    # such as finding lost jobs, would not be done from then on.
    except Exception:
        log.exception("%s: a round ended; the next one tries again", what)
