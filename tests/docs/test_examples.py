"""The examples run as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.core.digits import exported, network, save_digits
from tests.docs.blocks import ROOT
from tests.live import Bench, model_bytes, npz_bytes

EXAMPLES = ROOT / "examples"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(model_bytes(["sleep", 0.1]))
    (tmp_path / "data.npz").write_bytes(npz_bytes())
    return tmp_path


def script(*command: str, place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=place, env=whole, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    "command", [["bash", "poll.sh"], [sys.executable, "compress.py"]], ids=["curl", "python"]
)
def test_a_job_through_the_service(bench: Bench, files: Path, command: list[str]) -> None:
    runner, name = command
    recipe = ["quick"] if name == "poll.sh" else ["--recipe", "quick"]
    inputs = [bench.stack.url, "model.onnx", "data.npz", "result"]
    done = script(runner, str(EXAMPLES / name), *inputs, *recipe, place=files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (files / "result" / "model.onnx").read_bytes() == (files / "model.onnx").read_bytes()
    assert json.loads((files / "result" / "report.json").read_text())["schema"] == 1


@pytest.mark.parametrize(
    "command", [["bash", "poll.sh"], [sys.executable, "compress.py"]], ids=["curl", "python"]
)
def test_a_failed_job_is_an_exit_code(bench: Bench, files: Path, command: list[str]) -> None:
    (files / "model.onnx").write_bytes(model_bytes(["raise", "DataEmpty", {"field": "x"}]))
    runner, name = command
    done = script(
        *(runner, str(EXAMPLES / name), bench.stack.url, "model.onnx", "data.npz", "result"), place=files
    )
    assert done.returncode == 1
    assert "no samples" in done.stdout + done.stderr or "data_empty" in done.stdout + done.stderr


def report(before: float | None, after: float, low: float) -> dict[str, Any]:
    side = {"fidelity": 1.0, "accuracy": before}
    timing = {
        "batch_size": 1,
        "threads": 1,
        "speedup": low + 0.1,
        "speedup_low": low,
        "speedup_high": low + 0.2,
    }
    other = {"fidelity": after, "accuracy": None if before is None else after}
    return {"before": side, "after": other, "latency": [timing]}


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (report(0.95, 0.945, 1.3), 0, ""),
        (report(0.95, 0.93, 1.3), 1, "accuracy fell by 2.0 points"),
        (report(None, 0.97, 1.3), 1, "fidelity fell by 3.0 points"),
        (report(0.95, 0.95, 1.1), 1, "1.2 was asked for"),
    ],
    ids=["fine", "accuracy", "fidelity", "speed"],
)
def test_the_check_fails_when_a_limit_is_crossed(tmp_path: Path, told: dict, code: int, said: str) -> None:
    (tmp_path / "report.json").write_text(json.dumps(told))
    done = script(
        *(
            sys.executable,
            str(EXAMPLES / "ci" / "check.py"),
            "report.json",
            "--points",
            "1",
            "--speedup",
            "1.2",
        ),
        place=tmp_path,
    )
    assert done.returncode == code
    assert said in done.stdout


def test_the_workflow_calls_what_there_is() -> None:
    workflow = yaml.safe_load((EXAMPLES / "ci" / "compress.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["compress"]["steps"] if "run" in step]
    assert any(c.startswith("sosp compress") for c in commands)
    (check,) = (c for c in commands if "check.py" in c)
    assert (ROOT / check.split()[1]).is_file()


def test_from_pytorch_to_onnxruntime(tmp_path: Path) -> None:
    done = script(sys.executable, "-W", "ignore", str(EXAMPLES / "pytorch.py"), "made", place=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = dict(line.split(": ") for line in done.stdout.splitlines() if ".onnx: " in line)
    assert float(shown["digits.onnx"]) > 0.9
    assert float(shown["model.onnx"]) > 0.8


@pytest.mark.slow
def test_from_hugging_face_to_a_slim_file(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers comes with the extra `proof`")
    offline = {"HF_HUB_OFFLINE": "1"}
    done = script(
        *(sys.executable, "-W", "ignore", str(EXAMPLES / "huggingface.py"), "", "made"),
        place=tmp_path,
        **offline,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "made" / "out" / "report.json").read_text())
    assert report["after"]["macs"] <= 0.7 * report["before"]["macs"]
    assert report["after"]["fidelity"] > 0.9


def test_the_cells_of_the_notebook_run_in_order(tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 4
    (tmp_path / "model.onnx").write_bytes(exported(network().eval()))
    save_digits(tmp_path / "data.npz", count=120)
    cheap = cells[2].replace('"keep": 0.5}}', '"keep": 0.5}, "rounds": 1}, "finetune": {"steps": 0}')
    assert cheap != cells[2]
    cells[2] = cheap
    done = script(sys.executable, "-W", "ignore", "-c", "\n".join(cells), place=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").is_file()


def test_nothing_is_installed_from_where_it_is_not_published() -> None:
    told = [*(ROOT / "docs").rglob("*.md"), *EXAMPLES.rglob("*.yml"), ROOT / "README.md"]
    named = [path for path in told if re.search(r"pip install [^`\n]*\bsosp\[", path.read_text())]
    assert named == []
