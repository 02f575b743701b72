"""What is removed, what stays, and what a full disk does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from service.cli.main import run
from service.errors import JobNotFailed, NotFound
from service.jobs.artifacts import MEDIA_TYPES
from service.jobs.states import JobState
from service.jobs.upkeep import Swept
from tests.live import Stack, model_bytes, npz_bytes
from tests.service.world import World, stage


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def succeeded(world: World) -> str:
    """A job with results, after an attempt that was lost."""
    artifacts = world.parts.artifacts
    job_id = world.submit()
    artifacts.begin(job_id, world.claim(job_id).fence)
    world.expire(job_id)
    world.parts.reaper.recover(job_id)
    claim = world.claim(job_id)
    work = artifacts.begin(job_id, claim.fence)
    (work / "log.txt").write_text("log")
    (work / "inputs").mkdir()
    for name in MEDIA_TYPES:
        (work / "out" / name).write_text(name)
    assert world.leases.succeed(claim, artifacts.publish(job_id, claim.fence), {})
    return job_id


def test_what_is_in_use_stays(world: World) -> None:
    job_id, running = succeeded(world), world.submit()
    world.parts.artifacts.begin(running, world.claim(running).fence)
    root = world.parts.settings.data_dir
    world.parts.upkeep.sweep(grace_s=-1)
    before = files(root / "jobs") | files(root / "blobs")
    swept = world.parts.upkeep.sweep(grace_s=-1)
    assert swept == Swept()
    assert files(root / "jobs") | files(root / "blobs") == before
    assert f"{job_id}/2/model.onnx" in before
    assert f"{job_id}/2.work/log.txt" in before
    assert len(files(root / "blobs")) == 2
    assert (root / "jobs" / running / "1.work" / "out").is_dir()


def test_what_nothing_refers_to_is_removed_once_it_is_old(world: World) -> None:
    root = world.parts.settings.data_dir
    orphan = root / "blobs" / "ab" / ("c" * 62)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(bytes(1000))
    stray = root / "jobs" / ("job_" + "0" * 26)
    stray.mkdir()
    (stray / "file").write_bytes(bytes(500))
    assert world.parts.upkeep.sweep(grace_s=3600) == Swept()
    swept = world.parts.upkeep.sweep(grace_s=-1)
    assert (swept.blobs, swept.attempts, swept.bytes) == (1, 1, 1500)
    assert not orphan.exists()
    assert not stray.exists()


def checkpointed(world: World, job_id: str) -> Path:
    place = world.parts.artifacts.checkpoints(job_id)
    place.mkdir(parents=True)
    (place / "cut").write_bytes(bytes(70))
    return place


def test_checkpoints_stay_for_a_retry_and_not_for_ever(world: World) -> None:
    cancelled, done, running = world.submit(), succeeded(world), world.submit()
    places = [checkpointed(world, job_id) for job_id in (cancelled, done, running)]
    world.jobs.cancel(cancelled)
    world.claim(running)
    world.parts.upkeep.sweep(grace_s=-1)
    assert [place.exists() for place in places] == [True, False, True]
    swept = replace(world.parts.upkeep, keep_checkpoints_s=0).sweep(grace_s=-1)
    assert swept.bytes == 70
    assert [place.exists() for place in places] == [False, False, True]


def test_a_retry_takes_over_from_the_nearest_that_left_something(world: World) -> None:
    first = world.submit()
    left = checkpointed(world, first)
    world.jobs.cancel(first)
    second, _ = world.jobs.retry(first)
    world.jobs.cancel(second.id)
    third, _ = world.jobs.retry(second.id)
    claim = world.claim(third.id)
    assert claim.ancestors == (second.id, first)
    place = world.parts.artifacts.checkpoints(third.id, claim.ancestors)
    assert (place / "cut").read_bytes() == bytes(70)
    assert not left.exists()
    fresh = world.submit()
    assert not world.parts.artifacts.checkpoints(fresh, world.claim(fresh).ancestors).exists()


def test_jobs_and_uploads_are_kept_as_long_as_asked(world: World) -> None:
    old, waiting = succeeded(world), world.submit()
    unused = stage(world.parts, world.parts.models, model_bytes(["unused"]), "onnx")
    short = replace(world.parts.upkeep, keep_jobs_s=1e-6, keep_uploads_s=1e-6)
    time.sleep(0.01)
    swept = short.sweep()
    assert (swept.jobs, swept.uploads) == (1, 1)
    with pytest.raises(NotFound):
        world.jobs.get(old)
    with pytest.raises(NotFound):
        world.parts.models.get(unused)
    assert world.jobs.get(waiting).state is JobState.QUEUED
    assert not (world.parts.settings.data_dir / "jobs" / old).exists()


def test_the_command_says_what_it_removed(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(world.parts, world.parts.models, b"bytes", "onnx")
    settings = world.parts.settings
    place = ["--data-dir", str(settings.data_dir), "--grace", "-1"]
    if not settings.database_url.startswith("sqlite"):  # all files look unused to an empty database
        before = files(settings.data_dir / "blobs")
        assert run(["admin", "gc", *place]) == 2
        assert "belongs to another job database" in capsys.readouterr().err
        assert files(settings.data_dir / "blobs") == before
        monkeypatch.setenv("SOSP_DATABASE_URL", settings.database_url)
    assert run(["admin", "gc", *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blobs"] == 0
    assert run(["admin", "gc", *place]) == 0
    assert "0 unreferenced files" in capsys.readouterr().out


def test_a_job_that_ended_badly_can_be_asked_for_again(world: World) -> None:
    job_id = world.submit()
    with pytest.raises(JobNotFailed):
        world.jobs.retry(job_id)
    world.jobs.cancel(job_id)
    again, new = world.jobs.retry(job_id, "key")
    assert new
    assert (again.state, again.retry_of, again.recipe) == (JobState.QUEUED, job_id, world.order.recipe)
    assert world.jobs.retry(job_id, "key")[0].id == again.id
    assert world.jobs.get(job_id).state is JobState.CANCELLED
    world.jobs.cancel(again.id)
    world.parts.models.remove(world.order.model_id)
    with pytest.raises(NotFound):
        world.jobs.retry(job_id)


def test_a_disk_that_is_full_is_said_and_nothing_is_half_written(tight: Stack) -> None:
    root = tight.settings.data_dir
    model = tight.http.post("/v1/models", content=model_bytes()).json()["id"]
    data = tight.http.post("/v1/datasets", content=npz_bytes()).json()["id"]
    before = files(root / "blobs")
    big = model_bytes(["x" * 2**22])

    def chunks() -> Iterator[bytes]:
        yield from (big[i : i + 2**16] for i in range(0, len(big), 2**16))

    def refused(answer: httpx.Response) -> None:
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")

    refused(tight.http.post("/v1/models", content=big))
    refused(tight.http.post("/v1/models", content=chunks()))
    ballast = root / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    order = {"model_id": model, "dataset_id": data, "recipe": {"seed": 1}}
    answers = [tight.http.post("/v1/jobs", json=order) for _ in range(20)]
    refused(answers[-1])  # the first few may still fit into pages the database has
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused(tight.http.post("/v1/models", content=model_bytes(["more"])))
    ballast.unlink()
    assert files(root / "blobs") == before
    assert files(root / "tmp") == set()
    after = tight.http.post("/v1/jobs", json=order)
    assert after.status_code == 202
    listed = {job["id"] for job in tight.get("/v1/jobs", params={"limit": 200}).json()["items"]}
    assert listed == {*accepted, after.json()["id"]}


def test_an_attempt_that_begins_while_files_are_swept_keeps_them(world: World) -> None:
    job_id = world.submit()
    claim = world.claim(job_id)
    world.expire(job_id)
    world.parts.reaper.recover(job_id)  # as the sweep read it: queued, after its first attempt
    work = world.parts.artifacts.begin(job_id, claim.fence + 1)
    (work / "order.json").write_text("{}")
    world.parts.upkeep.sweep(grace_s=-1)
    assert (work / "order.json").exists()
