"""From nothing to a slim, measured model, through the real service.

Trains a small convolutional network on scikit-learn's handwritten digits (enlarged to 32 x 32,
so that latency can be measured), exports it to ONNX, starts ``sosp serve``, uploads model and
data, follows the job, downloads the result, and checks it again in a session of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn

from service.cli.output import print_comparison
from service.client import Client, Job
from service.schemas import JobView

OUT = Path("demo-out")
EPOCHS = 5
console = Console()


def main() -> None:
    """Run the demo; files go to ``demo-out``."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    torch.manual_seed(0)
    train, test = _digits()
    console.print(f"[bold]1. Train[/] a small CNN on {len(train[0])} handwritten digits")
    network = _train(*train)
    model, calibration, evaluation = _files(network, train, test)
    console.print(f"[bold]2. Export[/] {model} ({model.stat().st_size:,} bytes)")
    with _service() as url:
        console.print(f"[bold]3. Serve[/] at {url}: API, queue and one worker")
        files, view = _compress(url, model, calibration, evaluation)
    console.print("[bold]5. Result[/]")
    print_comparison(json.loads(files["report.json"].read_text())["summary"])
    _verify(files["model.onnx"], test)
    console.print(f"\nJob {view.id} took {time.monotonic() - started:.0f} s with training. Files:")
    for path in (model, files["model.onnx"], files["report.html"], files["report.json"]):
        console.print(f"  {path}")


def _digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    digits = load_digits()
    x = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32)[:, None]
    x = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    return (x[train], y[train]), (x[test], y[test])


def _network() -> nn.Module:
    def block(wide_in: int, wide_out: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(wide_out), nn.ReLU()]

    return nn.Sequential(
        *block(1, 32, 1),
        *block(32, 64, 2),
        *block(64, 64, 1),
        *block(64, 128, 2),
        *block(128, 128, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def _train(x: Tensor, y: Tensor) -> nn.Module:
    network = _network()
    steps = EPOCHS * (len(x) // 50)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(50):
            if len(batch) < 50:
                continue
            optimizer.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def _files(
    network: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[Path, Path, Path]:
    model = OUT / "digits.onnx"
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about torch's own internals
        torch.onnx.export(
            network,
            (train[0][:2],),
            model,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    paths = []
    for name, (x, y) in (("calibration", train), ("evaluation", test)):
        paths.append(OUT / f"{name}.npz")
        np.savez(paths[-1], image=x.numpy(), labels=y.numpy())
    return model, paths[0], paths[1]


@contextmanager
def _service() -> Iterator[str]:
    """``sosp serve`` on a free port, as a user would start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("sosp")), "serve"]
    command += ["--data-dir", str(OUT / "service"), "--port", str(port)]
    with (OUT / "service.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
        try:
            _await_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _await_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the service ended at once; see {OUT / 'service.log'}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    sys.exit(f"the service did not get ready; see {OUT / 'service.log'}")


def _compress(url: str, model: Path, calibration: Path, evaluation: Path) -> tuple[dict[str, Path], JobView]:
    with Client(url) as client:
        job: Job = client.submit(
            client.upload_model(model),
            client.upload_dataset(calibration),
            evaluation=client.upload_dataset(evaluation),
            recipe={"prune": {"budget": {"metric": "macs", "keep": 0.5}}, "finetune": {"epochs": 8}},
        )
        console.print(f"[bold]4. Job[/] {job.id}: keep half of the multiply-accumulates")
        seen: list[str] = []

        def show(view: JobView) -> None:
            if view.stage and view.stage not in seen:
                seen.append(view.stage)
                console.print(f"   {view.stage}")

        job.wait(on_update=show)
        return job.download(str(OUT / "result"), replace=True), job.view


def _verify(slim: Path, test: tuple[Tensor, Tensor]) -> None:
    """Load the download in a fresh session and count right answers: trust no report."""
    session = ort.InferenceSession(slim, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": test[0].numpy()})
    right = float((logits.argmax(1) == test[1].numpy()).mean())
    console.print(f"Checked again here: {right * 100:.1f} % of {len(test[1])} test digits are right.")


if __name__ == "__main__":
    main()
