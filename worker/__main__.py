"""``python -m worker``: run a worker until it is told to stop."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings

from celery.platforms import SecurityWarning

from service.devices import require_present
from service.errors import CannotStart
from service.jobs import queues
from service.lifeline import die_with
from service.settings import Settings
from worker.app import create_worker, run

#: How a worker ends that cannot run with these settings, as ``sosp serve`` does.
CANNOT_START = 2
NEEDED = ("onnx", "onnxruntime", "onnx2torch", "torch")


def main() -> None:
    """Read the environment and the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--parent", type=int, help="end when this process, which started us, ends")
    parent = parser.parse_args().parent
    if parent is not None:
        die_with(parent)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        sys.exit(f"error: a worker needs {', '.join(missing)}; install sosp[worker] [worker_incomplete]")
    # It warns of running as root for pickle's sake; only JSON is accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    settings = Settings()
    options = [
        "--loglevel",
        settings.log_level,
        "--queues",
        ",".join(map(queues.address, queues.parse(settings.queues))),
        "--without-gossip",
        "--without-mingle",
        *(["--task-events"] if settings.task_events else ["--without-heartbeat"]),
    ]
    try:
        require_present(settings.devices)
        app = create_worker(settings)
    except CannotStart as error:
        sys.stderr.write(f"error: {error} [{error.code}]\n")
        sys.exit(CANNOT_START)
    sys.exit(run(app, options))


if __name__ == "__main__":
    main()
