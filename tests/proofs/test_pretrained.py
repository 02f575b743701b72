"""The whole job on pretrained CIFAR-10 networks: half the MACs, at least 0.88 of the answers right.

Needs the networks and images of ``../shared`` and tens of minutes on two cores: ``make proof``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

SHARED = Path(__file__).parents[3] / "shared"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.timeout(5400),
    pytest.mark.skipif(not SHARED.exists(), reason=f"no pretrained networks at {SHARED}"),
]


def prepared(images: np.ndarray) -> np.ndarray:
    return ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cifar")
    with np.load(SHARED / "data" / "cifar10_small.npz") as z:
        np.savez(folder / "train.npz", input=prepared(z["x_train"]), labels=z["y_train"])
        np.savez(folder / "test.npz", input=prepared(z["x_test"]), labels=z["y_test"])
    return folder / "train.npz", folder / "test.npz"


@pytest.mark.parametrize("name", ["resnet20_cifar10", "resnet56_cifar10", "resnet56_cifar10_folded"])
def test_half_the_macs_at_little_loss(name: str, data: tuple[Path, Path], tmp_path: Path) -> None:
    model, slim = SHARED / "models" / f"{name}.onnx", tmp_path / "slim.onnx"
    sosp = str(Path(sys.executable).with_name("sosp"))
    command = [sosp, "compress", str(model), str(data[0]), "--eval", str(data[1])]
    command += ["--keep", "0.5", "--metric", "macs", "-o", str(slim), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    sys.stdout.write(json.dumps(report["summary"], indent=1) + "\n")
    assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    assert report["after"]["accuracy"] >= 0.88
    assert {(c["batch_size"], c["threads"]) for c in report["latency"]} == {(1, 1), (16, 1)}

    before, after = (ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (model, slim))
    for ports in ("get_inputs", "get_outputs"):
        old, new = (
            [(p.name, p.type, p.shape) for p in getattr(session, ports)()] for session in (before, after)
        )
        assert new == old
    with np.load(data[1]) as test:
        (logits,) = after.run(["logits"], {"input": test["input"]})
        accuracy = float((logits.argmax(1) == test["labels"]).mean())
    assert abs(accuracy - report["after"]["accuracy"]) < 0.002
