"""``sosp admin``: looking after an installation, on its own machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from service.cli.output import Json, print_json
from service.cli.serve import DataDir, settings_of

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
