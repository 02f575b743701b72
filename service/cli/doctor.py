"""``sosp doctor``: is everything there that a job needs?"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from service.cli.output import Json, print_json, print_table
from service.cli.serve import DataDir, settings_of

if TYPE_CHECKING:
    from service.settings import Settings

WORKER_NEEDS = ("onnx", "onnxruntime", "onnx2torch", "torch")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; without ``needed`` its absence is no fault."""

    what: str
    ok: bool
    detail: str
    needed: bool = True


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Look at directory, database, broker, workers and libraries; exit code 1 if one is missing."""
    findings = list(_look(settings_of(data_dir=data_dir)))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        marks = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "none"}
        rows = [(f.what, marks[f.ok, f.needed], f.detail) for f in findings]
        print_table(("", "", ""), rows)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(1)


def _look(settings: Settings) -> Iterator[Finding]:
    from service.jobs.blobs import Blobs
    from service.jobs.messages import Doorbell
    from sosp_core import units

    def disk() -> str:
        blobs = Blobs(settings.data_dir, floor=settings.free_space_floor_bytes)
        if not blobs.writable():
            raise OSError("cannot be written to, or has less free space than the floor")
        return f"{settings.data_dir}, {units.size(blobs.free())} free"

    def broker() -> str:
        bell = Doorbell(settings.broker_url)
        try:
            if not bell.answers():
                raise OSError("does not answer")
        finally:
            bell.close()
        return settings.broker_url.partition(":")[0]

    yield _finding("data directory", disk)
    yield from _database(settings)
    yield _finding("broker", broker)
    missing = [name for name in WORKER_NEEDS if importlib.util.find_spec(name) is None]
    told = f"missing: {', '.join(missing)}" if missing else "complete"
    yield Finding("libraries of a worker", not missing, told, needed=False)


def _database(settings: Settings) -> Iterator[Finding]:
    from service.errors import CannotStart
    from service.jobs.database import Database
    from service.jobs.installation import require_tied, tie
    from service.jobs.keys import Keys
    from service.jobs.leases import Presence

    try:
        db = Database(settings.database_url)
    except CannotStart as error:
        yield Finding("job database", False, error.reason)
        return

    def migrated() -> str:
        db.migrate()
        tie(db, settings.data_dir)
        require_tied(db, settings.data_dir)
        return settings.database_url.partition(":")[0]

    try:
        found = _finding("job database", migrated)
        yield found
        if found.ok:
            alive = Presence(db).alive(settings.worker_ttl_s)
            yield Finding("workers", alive > 0, f"{alive} alive", needed=False)
            keys = sum(row.revoked_at is None for row in Keys(db).every())
            yield Finding("API keys", keys > 0, f"{keys} valid", needed=settings.require_keys)
    finally:
        db.close()


def _finding(what: str, look: Callable[[], str]) -> Finding:
    from sqlalchemy.exc import SQLAlchemyError

    from sosp_core.errors import SospError

    try:
        return Finding(what, True, look())
    except (OSError, SQLAlchemyError, SospError) as error:
        return Finding(what, False, str(error).partition("\n")[0])
