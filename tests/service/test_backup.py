"""What is saved comes back as it was; what is damaged does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.backup import backup, restore
from service.cli.main import run
from service.errors import BackupUnusable
from service.jobs.artifacts import MEDIA_TYPES
from service.jobs.states import JobState
from service.settings import Settings
from tests.live import FAST
from tests.service.test_upkeep import succeeded
from tests.service.world import World


def settings(place: Path, **more: str) -> Settings:
    return Settings(data_dir=place, **(FAST | more))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str, str]:
    """An archive, a job in it that has succeeded, and one that was running."""
    world = World.open(settings(tmp_path / "old"))
    done, running = succeeded(world), world.submit()
    world.claim(running)
    told = backup(world.parts.settings, tmp_path / "saved.tar")  # while the database is in use
    assert (told.files, told.missing) == (2 + len(MEDIA_TYPES), ())
    world.close()
    return tmp_path / "saved.tar", done, running


def test_what_was_saved_is_there_again(saved: tuple[Path, str, str], tmp_path: Path) -> None:
    archive, done, running = saved
    assert archive.stat().st_mode & 0o777 == 0o600
    told = restore(archive, settings(tmp_path / "new"))
    assert told.files == 2 + len(MEDIA_TYPES)
    world = World.open(settings(tmp_path / "new"))
    job = world.jobs.get(done)
    for record in job.artifacts:
        content = world.parts.artifacts.path(done, job.fence, record["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record["sha256"]
    world.expire(running)
    world.parts.reaper.sweep()
    assert world.jobs.get(running).state is JobState.QUEUED  # its worker is not here
    assert world.parts.upkeep.sweep(grace_s=-1).blobs == 0  # rows and files belong together
    world.close()


def test_nothing_is_overwritten(saved: tuple[Path, str, str], tmp_path: Path) -> None:
    with pytest.raises(BackupUnusable, match="not empty"):
        restore(saved[0], settings(tmp_path / "old"))


@pytest.mark.parametrize("content", [None, b""], ids=["none", "empty"])
def test_a_directory_without_a_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes | None
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    if content is not None:
        (root / "sosp.db").write_bytes(content)
    before = list(root.iterdir())
    with pytest.raises(BackupUnusable, match="there is no job database"):
        backup(settings(root), tmp_path / "saved.tar")
    assert list(root.iterdir()) == before
    assert not (tmp_path / "saved.tar").exists()


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: flip(c, c.index(b"SQLite format 3") + 5000),
        lambda c: flip(c, c.rindex(b"model.onnx")),
        lambda c: b"no archive",
        lambda c: b"",
        lambda c: c.replace(b"sosp.backup/1", b"sosp.backup/9"),
        lambda c: c.replace(b'"revision": "0', b'"revision": "9'),
    ],
    ids=["cut", "database", "file", "other", "empty", "schema", "newer"],
)
def test_a_damaged_archive_is_refused(
    saved: tuple[Path, str, str], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    archive, whole = saved[0], saved[0].read_bytes()
    archive.write_bytes(damage(whole))
    with pytest.raises(BackupUnusable):
        restore(archive, settings(tmp_path / "new"))
    archive.write_bytes(whole)
    assert restore(archive, settings(tmp_path / "new")).missing == ()  # nothing is in its way
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"sosp.db", "installation", "blobs", "jobs", "tmp"}


def test_a_file_that_is_lost_is_named(tmp_path: Path) -> None:
    world = World.open(settings(tmp_path / "old"))
    sha256 = world.parts.models.page(limit=1)[0].sha256
    world.parts.blobs.discard(sha256)
    assert backup(world.parts.settings, tmp_path / "saved.tar").missing == (
        f"blobs/{sha256[:2]}/{sha256[2:]}",
    )
    assert len(restore(tmp_path / "saved.tar", settings(tmp_path / "new")).missing) == 1
    world.close()


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    World.open(settings(tmp_path / "old")).close()
    archive = str(tmp_path / "saved.tar")
    assert run(["admin", "backup", archive, "--data-dir", str(tmp_path / "old"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2
    assert run(["admin", "restore", archive, "--data-dir", str(tmp_path / "old")]) == 1
    assert "not empty" in capsys.readouterr().err
    assert run(["admin", "restore", archive, "--data-dir", str(tmp_path / "new")]) == 0
    assert "2 files" in capsys.readouterr().out


def test_postgresql_has_tools_of_its_own(tmp_path: Path) -> None:
    url = "postgresql+psycopg://sosp@127.0.0.1/sosp"
    with pytest.raises(BackupUnusable, match="PostgreSQL"):
        backup(settings(tmp_path, database_url=url), tmp_path / "saved.tar")
