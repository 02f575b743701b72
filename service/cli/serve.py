"""``sosp serve`` and ``sosp worker``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from service.settings import Settings

DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept.")]


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Run the API and one worker on this machine, until interrupted."""
    from service import embedded

    settings = settings_of(data_dir=data_dir, host=host, port=port)

    def on_ready(url: str) -> None:
        typer.echo(f"sosp serves on {url} (documentation: {url}/docs; data: {settings.data_dir})")

    embedded.serve(settings, on_ready=on_ready)


def worker(
    data_dir: DataDir = None,
    queues: Annotated[
        str | None, typer.Option(help="Queues to take jobs from, such as any,gpu or bench.pi5.")
    ] = None,
) -> None:
    """Run one worker, until interrupted."""
    environment = {**os.environ, **settings_of(data_dir=data_dir, queues=queues).environment()}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "worker"], environment)


def settings_of(**given: Any) -> Settings:
    """The settings of the environment, with those given on top; ``CannotStart`` if they make no sense."""
    from pydantic import ValidationError

    from service.errors import CannotStart
    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "settings"
        raise CannotStart(reason=f"{name}: {first['msg'].removeprefix('Value error, ')}") from error
