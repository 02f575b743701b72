"""Looking at models: who takes a request, and what becomes of it whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.errors import ProcessKilled
from service.jobs.blobs import Blobs
from service.jobs.failure import tell
from service.jobs.inspections import ABANDONED_S, MOST_TRIES, PASSING_S, Inspections, Request
from service.settings import Settings
from tests.live import model_bytes, until
from tests.service.test_end_to_end import tiny_network
from worker.inspector import Inspector

SHA = "ab" * 32


@pytest.fixture
def requests(tmp_path: Path) -> Inspections:
    return Inspections(tmp_path)


def test_a_request_is_asked_once_and_taken_once(requests: Inspections) -> None:
    assert requests.take() is None
    for _ in range(3):
        requests.ask(SHA, "onnx")
    taken = requests.take()
    assert taken is not None
    assert (taken.sha256, taken.format, taken.tries) == (SHA, "onnx", 1)
    requests.ask(SHA, "onnx")
    assert requests.take() is None
    requests.settle(taken, {"inspection": {"opset": 17}})
    assert requests.find(SHA) is not None
    assert requests.take() is None


def test_what_another_version_found_is_looked_at_again(
    tmp_path: Path, requests: Inspections, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.ask(SHA, "onnx")
    taken = requests.take()
    assert taken is not None
    requests.settle(taken, {"inspection": {}})
    monkeypatch.setattr("service.jobs.inspections.version", lambda name: "99")
    assert Inspections(tmp_path).find(SHA) is None


def test_a_worker_that_shuts_down_leaves_the_request_untried(requests: Inspections) -> None:
    requests.ask(SHA, "onnx")
    for _ in range(MOST_TRIES + 2):
        taken = requests.take()
        assert taken is not None
        assert taken.tries == 1
        requests.release(taken)


def test_a_model_that_ends_its_workers_is_given_up(tmp_path: Path, requests: Inspections) -> None:
    requests.ask(SHA, "zip")
    for tries in range(1, MOST_TRIES + 1):
        taken = requests.take()
        assert taken is not None
        assert taken.tries == tries
        place = tmp_path / "inspections" / taken.name("taken")
        os.utime(place, (0, place.stat().st_mtime - ABANDONED_S - 1))  # its worker is gone
    assert requests.take() is None
    found = requests.find(SHA)
    assert found is not None
    assert found["error"]["code"] == "inspection_lost"


def test_a_failure_that_may_pass_is_tried_again_and_kept_for_a_while_only(
    tmp_path: Path, requests: Inspections, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector, tries = Inspector(Settings(data_dir=tmp_path, free_space_floor_bytes=0)), []

    def killed(request: Request, work: Path) -> dict[str, object]:
        tries.append(request.tries)
        return {"error": tell(ProcessKilled(signal="SIGKILL"))}

    def answer() -> None:
        while (request := requests.take()) is not None:
            inspector._answer(request)

    monkeypatch.setattr(inspector, "_look", killed)
    for told in (1, 2):
        requests.ask(SHA, "onnx")
        answer()
        assert tries == [1, 2, 3] * told
        found = requests.find(SHA)
        assert found is not None
        assert found["error"]["code"] == "process_killed"
        place = tmp_path / "inspections" / f"{SHA}.json"
        os.utime(place, (0, place.stat().st_mtime - PASSING_S - 1))
        assert requests.find(SHA) is None
    monkeypatch.setattr(inspector, "_look", lambda request, work: {"inspection": {}})
    requests.ask(SHA, "onnx")
    answer()
    assert requests.find(SHA) is not None


def test_what_is_known_goes_with_the_bytes(tmp_path: Path, requests: Inspections) -> None:
    requests.ask(SHA, "onnx")
    taken = requests.take()
    assert taken is not None
    requests.settle(taken, {"inspection": {}})
    Blobs(tmp_path, floor=0).discard(SHA)
    assert requests.find(SHA) is None
    assert list((tmp_path / "inspections").iterdir()) == []


def test_a_worker_looks_at_real_models_in_a_process_of_their_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, free_space_floor_bytes=0)
    blobs, requests = Blobs(tmp_path, floor=0), Inspections(tmp_path)
    kept = {}
    for name, content in (("good", tiny_network()), ("bad", model_bytes()[:-3])):
        with blobs.writer(10**6) as writer:
            writer.write(content)
            staged = writer.finish()
            blobs.keep(staged)
            kept[name] = staged.sha256
            requests.ask(staged.sha256, "onnx")
    requests.ask(SHA, "onnx")  # no such bytes
    inspector = Inspector(settings)
    inspector.start()
    try:
        good, bad, gone = (until(lambda sha=sha: requests.find(sha), 120) for sha in (*kept.values(), SHA))
    finally:
        inspector.stop()
    assert good["inspection"]["inputs"] == ["x: float32[n, 3, 8, 8]"]
    assert [group["name"] for group in good["inspection"]["groups"]] == ["first", "second"]
    assert good["inspection"]["blockers"] == []
    assert bad["error"]["code"] == "model_not_onnx"
    assert gone["error"]["code"] == "upload_damaged"
    assert list((tmp_path / "tmp").iterdir()) == []
