"""What operators see: metrics, logs, readiness, and what ``sosp doctor`` finds."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from service.cli.main import run
from service.logs import JsonFormatter, request_id
from tests.live import Bench, Stack, model_bytes, running_stack


def value(text: str, name: str, **labels: str) -> float:
    """The sample of that name whose labels are among others the given ones."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and all(f'{k}="{v}"' in (found[2] or "") for k, v in labels.items()):
            return float(found[3])
    raise AssertionError(f"{name} {labels} is not in\n{text}")


def test_metrics_tell_of_jobs_stages_workers_and_requests(bench: Bench) -> None:
    before = bench.stack.get("/metrics").text
    bench.submit(["report", "score", ""], ["sleep", 0.3], ["report", "write", ""]).wait(30)
    waiting = bench.submit(queue="bench.absent")
    text = bench.stack.get("/metrics").text
    done = {"queue": "any", "state": "succeeded"}
    # Not equal: jobs that tests before this one left may end meanwhile.
    assert value(text, "sosp_jobs", **done) >= value(before, "sosp_jobs", **done) + 1
    assert value(text, "sosp_jobs", queue="bench.absent", state="queued") == 1
    assert value(text, "sosp_queue_oldest_seconds", queue="bench.absent") >= 0
    assert value(text, "sosp_workers", queue="any") == 1
    assert value(text, "sosp_stage_seconds_count", stage="finetune") >= 1
    assert value(text, "sosp_stage_seconds_sum", stage="finetune") >= 0.2
    assert value(text, "sosp_http_request_seconds_count", route="/v1/jobs", method="POST", status="202") >= 2
    assert value(text, "sosp_free_bytes") > 0
    bench.stack.get("/v1/nothing/" + "x" * 50)
    assert "xxx" not in bench.stack.get("/metrics").text
    waiting.cancel()


def test_a_line_is_an_object_whatever_was_said() -> None:
    record = logging.LogRecord(
        "x", logging.WARNING, "", 0, "%s: %s", ("job_" + "0" * 26, "a\nb\x1b[31m"), None
    )
    token = request_id.set("abc")
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    request_id.reset(token)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["job_id"], told["request_id"]) == ("warning", "job_" + "0" * 26, "abc")
    assert told["message"].endswith("a b [31m")
    assert "ValueError: why" in told["traceback"]


def test_processes_write_objects_when_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running_stack(tmp_path, log_format="json", log_level="info", workers=1) as stack:
        stack.get("/v1/jobs", headers={"X-Request-ID": "mine"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    [asked] = [line for line in lines if line.get("request_id") == "mine"]
    assert asked["message"].startswith("GET /v1/jobs: 200")
    assert any(line["logger"].startswith("celery") for line in lines)


def test_readiness_is_the_truth_about_broker_and_disk(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", broker_url="redis://127.0.0.1:9/0") as stack:
        answer = stack.get("/readyz")
        assert (answer.status_code, answer.json()["broker"]) == (503, False)
        assert answer.json()["database"]
        for name in ("tmp", "blobs"):  # as when the disk of another machine is away
            shutil.rmtree(stack.settings.data_dir / name)
            ready = stack.get("/readyz")
            assert (ready.status_code, ready.json()["disk"]) == (503, False)
            refused = stack.http.post("/v1/models", content=model_bytes())
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert int(refused.headers["Retry-After"]) > 0
        assert stack.get("/healthz").status_code == 200


def test_readiness_is_the_truth_about_the_database(postgres: Callable[[], str], tmp_path: Path) -> None:
    url = postgres()
    with running_stack(tmp_path / "data", database_url=url) as stack:
        assert stack.get("/v1/jobs").status_code == 200
        admin = create_engine(make_url(url).set(database="postgres"))
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))
        admin.dispose()
        for _ in range(2):
            answer = stack.get("/v1/jobs")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        ready = stack.get("/readyz")
        assert (ready.status_code, ready.json()["database"]) == (503, False)
        assert stack.get("/metrics").status_code == 503
        assert stack.get("/healthz").status_code == 200


def test_the_doctor_names_what_is_missing(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack: Stack = bench.stack
    for name, setting in stack.settings.environment().items():
        monkeypatch.setenv(name, setting)
    assert run(["doctor", "--json"]) == 0
    found = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found["workers"]["detail"] == "1 alive"
    assert all(found[what]["ok"] for what in ("data directory", "job database", "broker"))
    monkeypatch.setenv("SOSP_BROKER_URL", "redis://:hidden@127.0.0.1:9/0")
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "MISSING" in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("setting", "url", "what", "hint"),
    [
        ("SOSP_DATABASE_URL", "postgres://h/d", "job database", "postgresql+psycopg://"),
        ("SOSP_DATABASE_URL", "foo", "job database", "postgresql+psycopg://"),
        ("SOSP_DATABASE_URL", "mysql://h/d", "job database", "postgresql+psycopg://"),
        ("SOSP_DATABASE_URL", "postgresql://h:port/d", "job database", "postgresql+psycopg://"),
        ("SOSP_DATABASE_URL", "sqlite:////nowhere/sosp.db", "job database", "unable to open"),
        ("SOSP_BROKER_URL", "foo://", "broker", "No such transport: foo; it is given as redis://"),
        ("SOSP_BROKER_URL", "sqs://", "broker", "redis://"),
        ("SOSP_BROKER_URL", "redis://h:port/0", "broker", "redis://"),
        ("SOSP_BROKER_URL", "redis://h/0?foo=1", "broker", "redis://"),
    ],
)
def test_the_doctor_says_what_an_address_should_look_like(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    url: str,
    what: str,
    hint: str,
) -> None:
    monkeypatch.setenv(setting, url)
    assert run(["doctor", "--data-dir", str(tmp_path), "--json"]) == 1
    found = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert [name for name, finding in found.items() if finding["needed"] and not finding["ok"]] == [what]
    assert hint in found[what]["detail"]


@pytest.mark.parametrize(
    "command", [["keys", "list"], ["admin", "gc"], ["serve", "--port", "0"]], ids=" ".join
)
def test_nothing_starts_with_an_address_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("SOSP_DATABASE_URL", "postgres://h/d")
    assert run([*command, "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("[cannot_start]\n")


def test_a_data_directory_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "a b#c%41?d=e;f+g:ü"
    for command in (["keys", "create", "somebody"], ["doctor"], ["admin", "gc"]):
        assert run([*command, "--data-dir", str(place)]) == 0
    assert {"sosp.db", "broker.db"} <= {path.name for path in place.iterdir()}
    assert run(["admin", "backup", str(tmp_path / "saved.tar"), "--data-dir", str(place)]) == 0
    again = tmp_path / "b%41?"
    assert run(["admin", "restore", str(tmp_path / "saved.tar"), "--data-dir", str(again)]) == 0
    assert run(["keys", "list", "--data-dir", str(again)]) == 0
    assert capsys.readouterr().out.count("somebody") == 1
    assert {path.name for path in tmp_path.iterdir()} == {place.name, again.name, "saved.tar"}


def test_the_collector_passes_over_what_was_loaded_at_the_start(tmp_path: Path) -> None:
    """Looked at together, it holds up every request for a tenth of a second, now and again."""
    code = (
        "import asyncio, gc\n"
        "from service.app import create_app\n"
        "async def main():\n"
        "    app = create_app()\n"
        "    before = len(gc.get_objects())\n"
        "    async with app.router.lifespan_context(app):\n"
        "        print(before, len(gc.get_objects()))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "SOSP_DATA_DIR": str(tmp_path)}
    shown = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    before, after = map(int, shown.split())
    assert after < before / 10
