"""``sosp admin backup`` and ``restore``: one archive with rows and files that belong together.

The database is copied first, in one consistent state, while the service goes on; then the files
that its rows name. Those never change once they have a name, so the archive is as of the moment
of the copy. What jobs that are not finished had done so far is left out: they start over.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, select

from service.errors import BackupUnusable
from service.jobs import installation
from service.jobs.artifacts import Artifacts
from service.jobs.blobs import Blobs
from service.jobs.database import Database
from service.jobs.schema import NEWEST
from service.jobs.states import JobState
from service.jobs.tables import Dataset, Job, Model
from service.settings import Settings, sqlite_url

SCHEMA = "sosp.backup/1"
MANIFEST, DATABASE = "manifest.json", "sosp.db"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What an archive holds.

    Attributes:
        files: Uploads and results.
        bytes: Of all of them.
        missing: Files that a row names and that are not there, or were deleted meanwhile.
    """

    files: int
    bytes: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file that a row names: where it is under the data directory, and its digest."""

    place: str
    sha256: str


def backup(settings: Settings, target: Path) -> Saved:
    """Write an archive of everything, whole or not at all.

    Raises:
        BackupUnusable: The job database is no SQLite file, and its own tools copy it; or there is none.
        CannotStart: The files belong to another database.
    """
    root, database = settings.data_dir, _file_of(settings)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with tempfile.TemporaryDirectory(dir=root) as place:
        copy = Path(place) / DATABASE
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as to:
            source.backup(to)
        db = Database(sqlite_url(copy), pooled=False)
        installation.require_tied(db, root)
        files = list(_named(db, root))
        with closing(sqlite3.connect(copy)) as to:  # one file, without a log beside it
            to.execute("PRAGMA journal_mode=DELETE")
        try:
            saved = _write(part, copy, root, files)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return saved


def restore(archive: Path, settings: Settings) -> Saved:
    """Unpack an archive into a data directory that is empty or not there, and check every file.

    Raises:
        BackupUnusable: It is no such archive, it is damaged, or something is there already.
    """
    root = settings.data_dir
    if root.exists() and any(root.iterdir()):
        raise BackupUnusable(reason=f"{root} is not empty; restore into a new directory")
    root.mkdir(parents=True, exist_ok=True)
    # Inside, not beside: the directory may be where a disk of its own is mounted.
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=root) as place:
        saved = _unpack(archive, Path(place))
        for entry in Path(place).iterdir():
            entry.rename(root / entry.name)
    return saved


def _unpack(archive: Path, place: Path) -> Saved:
    try:
        with tarfile.open(archive, "r:") as tar:
            manifest = _manifest(tar)
            tar.extractall(place, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BackupUnusable(reason=f"{archive} is no archive of sosp admin backup: {error}") from error
    if _digest(place / DATABASE) != manifest["database_sha256"]:
        raise BackupUnusable(reason="the database in it is damaged")
    (place / MANIFEST).unlink()
    db = Database(sqlite_url(place / DATABASE), pooled=False)
    db.migrate()
    return _checked(place, list(_named(db, place)), manifest["missing"])


def _file_of(settings: Settings) -> str:
    url = make_url(settings.database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        reason = "the job database is no SQLite file; docs/deployment.md says how to copy PostgreSQL"
        raise BackupUnusable(reason=reason)
    database = Path(url.database)
    if not database.is_file() or not database.stat().st_size:
        raise BackupUnusable(reason=f"there is no job database {database}")
    return url.database


def _named(db: Database, root: Path) -> Iterator[Kept]:
    """Every file that a row names."""
    blobs, artifacts = Blobs(root, floor=0), Artifacts(root)
    with db.read() as session:
        digests = {sha for table in (Model, Dataset) for sha in session.scalars(select(table.sha256))}
        done = session.scalars(select(Job).where(Job.state == JobState.SUCCEEDED)).all()
    for sha256 in sorted(digests):
        yield Kept(place=str(blobs.path(sha256).relative_to(root)), sha256=sha256)
    for job in done:
        for record in job.artifacts:
            path = artifacts.path(job.id, job.fence, record["name"])
            yield Kept(place=str(path.relative_to(root)), sha256=record["sha256"])


def _write(part: Path, database: Path, root: Path, files: list[Kept]) -> Saved:
    missing = tuple(kept.place for kept in files if not (root / kept.place).is_file())
    told = {
        "schema": SCHEMA,
        "revision": NEWEST,
        "database_sha256": _digest(database),
        "missing": list(missing),
    }
    size = count = 0
    # The owner of every row and the digests of all keys are in it: for nobody else to read.
    with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        with tarfile.open(fileobj=out, mode="w") as tar:
            _add(tar, MANIFEST, json.dumps(told, indent=1).encode())
            tar.add(database, DATABASE)
            tar.add(root / installation.FILE, installation.FILE)
            for kept in files:
                with suppress(FileNotFoundError):  # deleted since the copy; ``restore`` names it
                    tar.add(root / kept.place, kept.place)
                    size, count = size + (root / kept.place).stat().st_size, count + 1
        out.flush()
        os.fsync(out.fileno())
    return Saved(files=count, bytes=size, missing=missing)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    tar.addfile(entry, io.BytesIO(content))


def _manifest(tar: tarfile.TarFile) -> dict[str, object]:
    first = tar.next()
    file = tar.extractfile(first) if first is not None and first.name == MANIFEST else None
    try:
        told = json.loads(file.read()) if file is not None else {}
    except ValueError:
        told = {}
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise BackupUnusable(reason="it is no archive of sosp admin backup")
    if told["revision"] > NEWEST:
        raise BackupUnusable(reason=f"it is of a newer version: {told['revision']}, this one knows {NEWEST}")
    return told


def _checked(root: Path, files: list[Kept], missing: object) -> Saved:
    known = set(missing) if isinstance(missing, list) else set()
    size = 0
    lost = []
    for kept in files:
        path = root / kept.place
        if not path.is_file():
            lost.append(kept.place)
        elif _digest(path) != kept.sha256:
            raise BackupUnusable(reason=f"{kept.place} in it is damaged")
        else:
            size += path.stat().st_size
    if unexpected := set(lost) - known:
        raise BackupUnusable(reason=f"{sorted(unexpected)[0]} is not in it")
    return Saved(files=len(files) - len(lost), bytes=size, missing=tuple(lost))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
