"""The ``sosp`` command and its border: every error becomes one line and an exit code here."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import typer

from service.cli import admin, compress, doctor, jobs, keys, local, recipes, serve
from service.cli.output import print_json
from sosp_core.errors import InputError, SospError, every_error

DONE, FAILED, MISUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

app = typer.Typer(
    name="sosp",
    help="Make an ONNX model smaller and faster, and prove what that costs.",
    rich_markup_mode=None,
)
app.command("compress")(compress.compress)
app.command("inspect")(local.inspect)
app.command("bench")(local.bench)
app.command("recipes")(recipes.recipes)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("doctor")(doctor.doctor)
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(admin.app, name="admin")


@dataclass(frozen=True)
class Fault:
    """An error as the command line reports it."""

    code: str
    detail: str
    exit_code: int
    details: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Run the command of this process."""
    signal.signal(signal.SIGTERM, _end)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(args=arguments or ["--help"], prog_name="sosp", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    # The border of the process: a traceback helps nobody at a terminal. What was foreseen has a
    # class of its own in ``_fault``; the rest is named, and told apart by its code.
    except Exception as error:
        fault = _fault(error)
        _tell(fault, as_json="--json" in arguments)
        return fault.exit_code
    return code if isinstance(code, int) else DONE


def _end(number: int, frame: FrameType | None) -> None:
    """End by an exception, as Ctrl-C does, so that nothing half done is left behind."""
    raise SystemExit(TERMINATED)


def _fault(error: Exception) -> Fault:
    match error:
        case InputError():
            return Fault(error.code, str(error), MISUSED, error.details())
        case SospError():
            return Fault(error.code, str(error), _exit_code(error.code), error.details())
        case typer.TyperException():
            return Fault("usage", error.format_message(), MISUSED)
        case FileNotFoundError() | IsADirectoryError() | NotADirectoryError() | PermissionError():
            return Fault("file_unusable", f"{error.filename}: {error.strerror}", MISUSED)
        case OSError():
            return Fault("system", str(error), FAILED)
    return _remote_fault(error) or Fault("internal", f"{type(error).__name__}: {error}", FAILED)


def _remote_fault(error: Exception) -> Fault | None:
    """What the client raises; asked only if the client was loaded at all."""
    if "service.client" not in sys.modules:
        return None
    from service.client import ApiError, ClientError, InTheWay, JobFailed, KeyUnusable

    match error:
        case ApiError():
            refused = error.status in {400, 401, 403, 404, 413, 415, 421, 422}
            return Fault(error.code, error.detail, MISUSED if refused else FAILED)
        case JobFailed():
            return Fault(error.error.code, str(error), _exit_code(error.error.code), error.error.details)
        case ClientError():
            misused = isinstance(error, InTheWay | KeyUnusable)
            return Fault(_snake(type(error).__name__), str(error), MISUSED if misused else FAILED)
    return None


def _exit_code(code: str) -> int:
    misused = {kind.code for kind in every_error(InputError)} - {SospError.code}
    return MISUSED if code in misused | {"cannot_start"} else FAILED


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _tell(fault: Fault, *, as_json: bool) -> None:
    line = " ".join(fault.detail.split())
    typer.echo(f"error: {line} [{fault.code}]", err=True)
    if as_json:
        from service.jobs.text import finite

        print_json({"error": {"code": fault.code, "detail": line, "details": finite(fault.details)}})
