"""``sosp jobs``: looking after the jobs of a server."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import ApiKey, Bar, Json, print_json, print_table
from service.jobs.states import JobState

if TYPE_CHECKING:
    from service.client import Client
    from service.schemas import JobView

app = typer.Typer(help="Look after the jobs of a server.")

Server = Annotated[str, typer.Option(envvar="SOSP_SERVER", help="Address of the server.")]
JobId = Annotated[str, typer.Argument(metavar="ID")]
LOCAL = "http://127.0.0.1:8000"


def _client(server: str, api_key: str | None) -> Client:
    from service.client import Client

    return Client(server, api_key)


@app.command("list")
def list_jobs(
    server: Server = LOCAL,
    api_key: ApiKey = None,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    with _client(server, api_key) as client:
        views = list(islice(client.jobs(*(state or [])), limit))
    if as_json:
        print_json({"items": [view.model_dump(mode="json") for view in views]})
        return
    print_table(("job", "state", "stage", "done", "created"), map(_row, views))


@app.command()
def show(job_id: JobId, server: Server = LOCAL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show one job."""
    with _client(server, api_key) as client:
        _print(client.job(job_id).view, as_json=as_json)


@app.command()
def wait(
    job_id: JobId,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    timeout: Annotated[float | None, typer.Option(help="Give up waiting after this many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Wait for the end of a job; exit code 1 if it failed."""
    with _client(server, api_key) as client, Bar().shown() as bar:
        job = client.job(job_id)
        job.wait(
            timeout, on_update=lambda view: bar.show(view.stage or view.state, view.overall, view.message)
        )
    _print(job.view, as_json=as_json)


@app.command()
def cancel(job_id: JobId, server: Server = LOCAL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Ask a job to stop."""
    with _client(server, api_key) as client:
        _print(client.job(job_id).cancel(), as_json=as_json)


@app.command()
def retry(job_id: JobId, server: Server = LOCAL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Queue a new job like one that failed or was cancelled."""
    with _client(server, api_key) as client:
        _print(client.job(job_id).retry().view, as_json=as_json)


@app.command()
def download(
    job_id: JobId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the files.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace other files of the same names.")] = False,
    server: Server = LOCAL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Download what a job made."""
    with _client(server, api_key) as client:
        made = client.job(job_id).download(output, replace=force)
    paths = {name: str(path) for name, path in made.items()}
    if as_json:
        print_json({"paths": paths})
        return
    for path in paths.values():
        typer.echo(path)


def _row(view: JobView) -> tuple[str, ...]:
    created = view.created_at.strftime("%Y-%m-%d %H:%M:%S")
    return view.id, view.state, view.stage or "", f"{view.overall:.0%}", created


def _print(view: JobView, *, as_json: bool) -> None:
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    told = {
        "job": view.id,
        "state": view.state,
        "stage": view.stage,
        "done": f"{view.overall:.0%}",
        "message": view.message,
        "attempt": str(view.attempt),
        "error": None if view.error is None else f"{view.error.detail} [{view.error.code}]",
    }
    print_table(("", ""), [(name, value) for name, value in told.items() if value])
