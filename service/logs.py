"""How log lines look: for people, or one JSON object a line with the job and the request it is about."""

from __future__ import annotations

import datetime
import json
import logging
import re
from contextvars import ContextVar

from service.jobs.text import clean
from service.settings import Settings

# The request that is being served; in a worker there is none.
request_id: ContextVar[str] = ContextVar("request_id", default="")
JOB = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LONGEST = 20_000


class JsonFormatter(logging.Formatter):
    """One object a line; text from outside cannot break it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        message = record.getMessage()
        told = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(message, LONGEST),
            "process": record.process,
        }
        if found := JOB.search(message):
            told["job_id"] = found[0]
        if request := request_id.get():
            told["request_id"] = request
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)[-LONGEST:]
        return json.dumps(told)


def configure(settings: Settings) -> None:
    """Send every log line of this process to standard error, in the form the settings ask for."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):  # it has installed handlers of its own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
