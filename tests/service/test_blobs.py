from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StorageFull, UploadTooLarge
from service.jobs.artifacts import MEDIA_TYPES, Artifacts, media_type
from service.jobs.blobs import Blobs, Writer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(writer: Writer) -> None:
    """Write more than the small disk holds."""
    for _ in range(100):
        writer.write(bytes(2**16))
    writer.finish()


def test_a_writer_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, floor=0)
    with pytest.raises(UploadTooLarge) as caught, blobs.writer(limit=3) as writer:
        writer.write(b"1234")
    assert caught.value.limit == 3
    assert list(blobs.temporary.iterdir()) == []


def test_a_disk_that_fills_up_is_named_and_left_clean(small_disk: Path) -> None:
    blobs = Blobs(small_disk, floor=0)
    blobs.require_space = lambda size: None  # type: ignore[method-assign]  # as if another filled it just now
    with pytest.raises(StorageFull), blobs.writer(limit=10**8) as writer:
        fill(writer)
    assert list(blobs.temporary.iterdir()) == []
    assert blobs.free() > 2**19


def test_an_upload_stops_at_the_floor_before_the_disk_is_full(small_disk: Path) -> None:
    blobs = Blobs(small_disk, floor=2**19)
    with pytest.raises(StorageFull), blobs.writer(limit=10**8) as writer:
        fill(writer)
    assert blobs.free() > 2**18


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, floor=0)
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        (blobs.temporary / name).touch()
        os.utime(blobs.temporary / name, (time.time() - age,) * 2)
    blobs.remove_stale()
    assert [path.name for path in blobs.temporary.iterdir()] == ["young"]


def test_artifacts_are_published_together_and_the_log_stays(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    work = artifacts.begin("job_1", 2)
    (work / "log.txt").write_text("log")
    (work / "inputs").mkdir()
    swept = ["model-1.onnx", "model-2.onnx", "model-10.onnx"]
    for name in (*MEDIA_TYPES, *swept, "model-x.onnx", "model-0.onnx"):
        (work / "out" / name).write_text(name)
    published = artifacts.publish("job_1", 2)
    artifacts.tidy("job_1", 2)
    assert [artifact.name for artifact in published] == [*MEDIA_TYPES, *swept]
    assert {media_type(name) for name in swept} == {"application/octet-stream"}
    assert artifacts.path("job_1", 2, "plan.json").read_text() == "plan.json"
    assert [path.name for path in work.iterdir()] == ["log.txt"]
    artifacts.remove("job_1")
    assert list((tmp_path / "jobs").iterdir()) == []
