"""The command line: in this process against the scripted pipeline, and against a real server."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import run
from service.cli.output import Bar
from tests.live import STANDIN, Bench, Stack, model_bytes, npz_bytes, until


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted pipeline as this process's pipeline."""
    spec = importlib.util.spec_from_file_location("sosp_core.pipeline", STANDIN / "pipeline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sosp_core.pipeline", module)
    monkeypatch.setattr("sosp_core.pipeline", module, raising=False)
    spec.loader.exec_module(module)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "net.onnx").write_bytes(model_bytes(["sleep", 0.1]))
    (tmp_path / "data.npz").write_bytes(npz_bytes())
    return tmp_path


@pytest.fixture
def server(bench: Bench) -> Stack:
    return bench.stack


def compress(files: Path, *options: str) -> int:
    inputs = [str(files / "net.onnx"), str(files / "data.npz")]
    return run(["compress", *inputs, "-o", str(files / "out" / "slim.onnx"), *options])


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON document on stdout."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("scripted")
def test_compress_leaves_the_model_and_its_reports(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(files, "--report", str(files / "why" / "report.html")) == 0
    assert sorted(path.name for path in (files / "out").iterdir()) == [
        "slim.MODEL_CARD.md",
        "slim.onnx",
        "slim.plan.json",
        "slim.report.html",
        "slim.report.json",
    ]
    assert (files / "why" / "report.html").read_text() == "<p>report</p>"
    shown = capsys.readouterr().out
    assert "parameters" in shown
    assert "-50 %" in shown


def test_where_there_is_no_terminal_a_long_job_says_a_line_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 1.0, 59.9, 60.0, 60.0, 119.0, 120.0, 120.0])
    monkeypatch.setattr("service.cli.output.time.monotonic", lambda: next(seconds))
    with Bar().shown() as bar:
        for share in (0.1, 0.2, 0.3, 0.4, 0.5):
            bar.show("finetune", share, "[step 5] of 10" if share < 0.5 else "")
    assert capsys.readouterr().err == " 30% finetune: [step 5] of 10\n 50% finetune\n"


@pytest.mark.usefixtures("scripted")
def test_a_report_that_lies_beside_the_model_anyway_is_asked_for(files: Path) -> None:
    assert compress(files, "--report", str(files / "out" / "slim.report.html")) == 0
    assert (files / "out" / "slim.report.html").read_text() == "<p>report</p>"


@pytest.mark.usefixtures("scripted")
def test_what_is_finished_stays_where_it_cannot_be_put_in_place(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "out" / "slim.plan.json").mkdir(parents=True)
    assert compress(files) == 2
    (kept,) = (files / "out").glob(".sosp-*")
    assert (kept / "model.onnx").is_file()
    assert (kept / "report.html").read_text() == "<p>report</p>"
    assert str(kept) in capsys.readouterr().err


@pytest.mark.usefixtures("scripted")
def test_a_report_that_cannot_be_written_costs_only_itself(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "report.html").symlink_to(files / "nowhere" / "report.html")
    assert compress(files, "--report", str(files / "report.html")) == 2
    assert (files / "out" / "slim.onnx").is_file()
    assert not list((files / "out").glob(".sosp-*"))
    assert f"kept: {files / 'out' / 'slim.onnx'}" in capsys.readouterr().err


def test_a_compression_that_is_told_to_end_leaves_nothing_behind(files: Path) -> None:
    (files / "net.onnx").write_bytes(model_bytes(["sleep", 60]))
    command = [sys.executable, "-m", "service.cli", "compress", str(files / "net.onnx")]
    command += [str(files / "data.npz"), "-o", str(files / "out" / "slim.onnx")]
    environment = {**os.environ, "PYTHONPATH": f"{STANDIN}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(command, env=environment) as running:
        until(lambda: list((files / "out").glob(".sosp-*")))
        running.terminate()
        assert running.wait(20) == 143
    assert list((files / "out").iterdir()) == []


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("budget", [{"at_most": 100}, {"max_drop": 0.01}, {"keep": 0.9}], ids=str)
def test_flags_win_over_the_recipe_file(
    files: Path, capsys: pytest.CaptureFixture[str], budget: dict[str, float]
) -> None:
    recipe = files / "recipe.json"
    recipe.write_text(json.dumps({"seed": 1, "prune": {"budget": budget}}))
    options = ["--recipe", str(recipe), "--keep", "0.3", "--metric", "params", "--method", "magnitude"]
    assert compress(files, *options, "--set", "seed=7", "--json") == 0
    made = document(capsys)
    assert made["report"] == {"schema": 1, "seed": 7}
    assert Path(made["paths"]["model.onnx"]).is_file()


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(
    ("step", "code", "exit_code"),
    [
        (["raise", "DataEmpty", {"field": "x"}], "data_empty", 2),
        (
            ["raise", "TargetUnreachable", {"metric": "macs", "asked": 1, "reachable": 2}],
            "target_unreachable",
            2,
        ),
        (["raise", "NothingToCompress", {"refusals": []}], "nothing_to_compress", 2),
        (["raise", "OutOfMemory", {"device": "cpu"}], "out_of_memory", 1),
        (["raise", "TrainingDiverged", {"step": 3}], "training_diverged", 1),
        (["bug"], "internal", 1),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_failure_is_one_line_and_an_exit_code(
    files: Path, capsys: pytest.CaptureFixture[str], step: list[Any], code: str, exit_code: int
) -> None:
    (files / "net.onnx").write_bytes(model_bytes(step))
    assert compress(files, "--json") == exit_code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.endswith(f"[{code}]\n")
    assert captured.err.count("\n") == 1
    assert json.loads(captured.out)["error"]["code"] == code
    assert list((files / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["compress"], "usage"),
        (["nonsense"], "usage"),
        (["jobs"], "usage"),
        (["compress", "missing.onnx", "missing.npz", "-o", "x"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--metric", "beauty"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--keep", "1.5"], "recipe_invalid"),
        (["compress", "NET", "DATA", "-o", "OUT", "--set", "prune.roundz=3"], "recipe_invalid"),
        (["compress", "NET", "DATA", "-o", "NET/below/a/file"], "file_unusable"),
        (["compress", "NET", "DATA", "-o", "NET"], "usage"),
        (["compress", "NET", "DATA", "-o", "DATA"], "usage"),
        (["compress", "NET", "DATA", "-o", "."], "usage"),
        (["compress", "NET", "DATA", "-o", "DIR"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--report", "DIR"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--report", "NET"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--report", "OUT"], "usage"),
        (["compress", "NET", "DATA", "-o", "OUT", "--server", ""], "usage"),
        (["serve", "--port", "99999"], "cannot_start"),
        (["serve", "--host", "203.0.113.1", "--port", "0"], "cannot_start"),
    ],
    ids=" ".join,
)
def test_misuse_is_one_line_and_exit_code_two(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: str,
) -> None:
    monkeypatch.setenv("SOSP_DATA_DIR", str(files / "data"))
    names = {"NET": files / "net.onnx", "DATA": files / "data.npz", "OUT": files / "slim.onnx", "DIR": files}
    arguments = [argument.replace("NET/", f"{names['NET']}/") for argument in arguments]
    assert run([str(names.get(argument, argument)) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.endswith(f"[{code}]\n")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--threads", "0", "equal to 1 "),
        ("--threads", "1025", "equal to 1024 "),
        ("--batch-size", "-1", "equal to 1 "),
        ("--max-time", "0", "above 0 and at most 600"),
        ("--max-time", "-1", "above 0 and at most 600"),
        ("--max-time", "nan", "above 0 and at most 600"),
    ],
)
def test_a_benchmark_says_what_it_can_be_told(
    files: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, allowed: str
) -> None:
    assert run(["bench", str(files / "net.onnx"), str(files / "net.onnx"), option, value]) == 2
    told = capsys.readouterr().err
    assert option in told
    assert allowed in told
    assert told.endswith("[usage]\n")


def test_compress_on_a_server_leaves_the_same_files(
    files: Path, server: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(files, "--server", server.url, "--eval", str(files / "data.npz"), "--set", "seed=7") == 0
    captured = capsys.readouterr()
    assert "-50 %" in captured.out
    assert json.loads((files / "out" / "slim.report.json").read_text()) == {"schema": 1, "seed": 7}
    assert len(list((files / "out").iterdir())) == 5


@pytest.mark.parametrize(
    ("step", "exit_code"), [(["raise", "DataEmpty", {"field": "x"}], 2), (["bug"], 1)], ids=["input", "bug"]
)
def test_a_failure_on_a_server_has_the_same_exit_code(
    files: Path, server: Stack, step: list[Any], exit_code: int
) -> None:
    (files / "net.onnx").write_bytes(model_bytes(step))
    assert compress(files, "--server", server.url) == exit_code


def test_jobs_are_looked_after_from_the_command_line(
    files: Path, server: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOSP_SERVER", server.url)
    assert compress(files, "--server", server.url, "--json") == 0
    capsys.readouterr()
    assert run(["jobs", "list", "--json", "--state", "succeeded"]) == 0
    job_id = document(capsys)["items"][0]["id"]
    assert run(["jobs", "show", job_id, "--json"]) == 0
    assert document(capsys)["state"] == "succeeded"
    assert run(["jobs", "wait", job_id]) == 0
    assert run(["jobs", "cancel", job_id]) == 0
    assert run(["jobs", "list"]) == 0
    shown = capsys.readouterr().out
    assert job_id in shown
    assert "succeeded" in shown
    assert run(["jobs", "download", job_id, "-o", str(files / "again"), "--json"]) == 0
    assert Path(document(capsys)["paths"]["model.onnx"]).is_file()
    (files / "again" / "model.onnx").write_bytes(b"months of work")
    assert run(["jobs", "download", job_id, "-o", str(files / "again"), "--json"]) == 2
    assert document(capsys)["error"]["code"] == "in_the_way"
    assert (files / "again" / "model.onnx").read_bytes() == b"months of work"
    assert run(["jobs", "download", job_id, "-o", str(files / "again"), "--force", "--json"]) == 0
    assert Path(document(capsys)["paths"]["model.onnx"]).read_bytes() != b"months of work"
    for nothing in ("job_x", "", ".", "../models"):
        assert run(["jobs", "show", nothing, "--json"]) == 2
        assert document(capsys)["error"]["code"] == "not_found"


def test_a_job_without_a_result_is_not_downloaded_in_silence(
    bench: Bench, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOSP_SERVER", bench.stack.url)
    job = bench.submit(queue="bench.absent")
    command = ["jobs", "download", job.id, "-o", str(files / "none")]
    assert run(command) == 1
    assert "is queued" in (shown := capsys.readouterr().err)
    assert shown.endswith("[job_not_finished]\n")
    job.cancel()
    assert run(command) == 1
    assert capsys.readouterr().err.endswith("was cancelled [cancelled]\n")


def test_help_is_quick_and_complete() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.check_output([sys.executable, "-m", "service.cli", "--help"], text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: what others do on this machine does not count. About 0.25 s.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    for command in ("serve", "worker", "compress", "jobs", "recipes"):
        assert command in shown


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sosp rec", ["recipes"]),
        ("sosp compress --recipe la", ["label-free"]),
        ("sosp compress --set prune.budget.", ["prune.budget.metric=macs", "prune.budget.keep="]),
        ("sosp compress --set finetune.opt", ["finetune.optimizer=sgd", "finetune.optimizer=adamw"]),
    ],
)
def test_the_shell_completes_commands_recipes_and_fields(line: str, offered: list[str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_SOSP_COMPLETE": "complete_bash"}
    command = [sys.executable, "-m", "service.cli"]
    shown = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True).stdout
    assert set(offered) <= set(shown.split())
