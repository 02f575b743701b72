"""Results in two files, as of 2 GiB and more: no model loses its weights to another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.cli.main import run
from tests.zoo.graphs import as_model

WIDE = """(float[N,16] x) => (float[N,4] y) <float[16,96] w, float[96] b, float[96,64] v, float[64,4] u>
{ p = MatMul(x, w)  q = Add(p, b)  r = Relu(q)  s = MatMul(r, v)  t = Relu(s)  y = MatMul(t, u) }"""
#: As PyTorch's exporter names them.
NAME, WEIGHTS = "model.onnx", "model.onnx.data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sosp_core.ir.save.ONE_FILE_BELOW", 4096)
    path = tmp_path / NAME
    onnx.save_model(
        as_model(WIDE, 17), str(path), save_as_external_data=True, location=WEIGHTS, size_threshold=256
    )
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32))
    return tmp_path


def compress(folder: Path, output: str, keep: float) -> int:
    inputs = [str(folder / NAME), str(folder / "data.npz"), "-o", str(folder / output)]
    return run(["compress", *inputs, "--metric", "params", "--keep", str(keep), "--set", "finetune.epochs=0"])


def hidden(path: Path) -> list[int]:
    """Widths as ONNX Runtime loads them, from whatever file the model names."""
    ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    onnx.checker.check_model(str(path), full_check=True)
    return [t.dims[1] for t in onnx.load(path).graph.initializer if len(t.dims) == 2][:2]


def test_two_results_in_one_folder_and_the_original_keep_their_weights(folder: Path) -> None:
    original = [(folder / name).read_bytes() for name in (NAME, WEIGHTS)]
    assert compress(folder, "half.onnx", 0.5) == 0
    half = hidden(folder / "half.onnx")
    assert compress(folder, "most.onnx", 0.8) == 0
    assert hidden(folder / "half.onnx") == half != hidden(folder / "most.onnx")
    assert (folder / "half.onnx.data").is_file()
    assert [(folder / name).read_bytes() for name in (NAME, WEIGHTS)] == original


def test_a_client_without_the_core_refuses_to_overwrite(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot write another name into the model."""
    original = (folder / WEIGHTS).read_bytes()
    monkeypatch.delattr("sosp_core.ir.save.rename_weights")
    assert compress(folder, "half.onnx", 0.5) == 2
    assert "[in_the_way]" in capsys.readouterr().err
    assert (folder / WEIGHTS).read_bytes() == original
    assert not (folder / "half.onnx").exists()
