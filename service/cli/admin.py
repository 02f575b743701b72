"""``sosp admin``: looking after an installation, on its own machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import Json, print_json
from service.cli.serve import DataDir, settings_of

if TYPE_CHECKING:
    from service.backup import Saved

app = typer.Typer(help="Look after the installation on this machine.")


@app.callback()
def admin() -> None:
    """Look after the installation on this machine."""


@app.command()
def gc(
    data_dir: DataDir = None,
    grace: Annotated[float, typer.Option(help="Leave files alone that are younger, in seconds.")] = 3600.0,
    as_json: Json = False,
) -> None:
    """Remove what is older than it has to be kept, and files nothing refers to."""
    from service.deps import assemble
    from sosp_core import units

    parts = assemble(settings_of(data_dir=data_dir))
    try:
        swept = parts.upkeep.sweep(grace)
    finally:
        parts.close()
    if as_json:
        print_json(asdict(swept))
        return
    typer.echo(
        f"removed {swept.jobs} jobs, {swept.uploads} uploads, {swept.attempts} leftover attempts and "
        f"{swept.blobs} unreferenced files: {units.size(swept.bytes)}"
    )


@app.command("backup")
def save(
    archive: Annotated[Path, typer.Argument(help="File to write; replaced if it is there.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Save rows and files in one archive, while the service goes on."""
    from service.backup import backup

    _tell("saved", backup(settings_of(data_dir=data_dir), archive.absolute()), as_json)


@app.command("restore")
def bring_back(
    archive: Annotated[Path, typer.Argument(help="Made by sosp admin backup.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Unpack an archive into an empty data directory, and check every file of it."""
    from service.backup import restore

    _tell("restored", restore(archive.absolute(), settings_of(data_dir=data_dir)), as_json)


def _tell(what: str, saved: Saved, as_json: bool) -> None:
    from sosp_core import units

    if as_json:
        print_json(asdict(saved))
        return
    typer.echo(f"{what} the job database and {saved.files} files: {units.size(saved.bytes)}")
    for place in saved.missing:
        typer.echo(f"missing: {place}", err=True)
