"""``sosp keys``: who may use a server. Works on its database, so on its machine."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import Json, print_json, print_table
from service.cli.serve import DataDir, settings_of

if TYPE_CHECKING:
    from service.jobs.keys import Keys
    from service.jobs.tables import ApiKey

app = typer.Typer(help="Make, list and revoke the API keys of the server on this machine.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for the list.")],
    admin: Annotated[bool, typer.Option("--admin", help="It sees what others own, and /metrics.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    from service.jobs.tables import Role

    with _keys(data_dir) as keys:
        row, text = keys.create(name, Role.ADMIN if admin else Role.USER)
    if as_json:
        print_json({**_told(row), "key": text})
        return
    typer.echo(text)


@app.command("list")
def list_keys(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all keys; never the keys themselves, which nobody knows."""
    with _keys(data_dir) as keys:
        told = [_told(row) for row in keys.every()]
    if as_json:
        print_json({"items": told})
        return
    columns = ("id", "name", "role", "created_at", "revoked_at")
    print_table(columns, [[str(row[column] or "") for column in columns] for row in told])


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="From sosp keys list.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a key invalid at once and for good; what it owns stays."""
    with _keys(data_dir) as keys:
        told = _told(keys.revoke(id))
    if as_json:
        print_json(told)


@contextmanager
def _keys(data_dir: Any) -> Iterator[Keys]:
    from service.jobs.database import Database
    from service.jobs.keys import Keys

    settings = settings_of(data_dir=data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = Database(settings.database_url)
    try:
        db.migrate()
        yield Keys(db)
    finally:
        db.close()


def _told(row: ApiKey) -> dict[str, str | None]:
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "created_at": _time(row.created_at),
        "revoked_at": None if row.revoked_at is None else _time(row.revoked_at),
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
