"""ResNet-56 adapted to 30,000 images, pruned as far as publications do, and trained to the end.

    python -m tests.benchmarks.peers.adapted baseline
    python -m tests.benchmarks.peers.adapted row TOOL SPEED-UP [--seed N]

for a TOOL of ``TOOLS`` and a SPEED-UP in MACs, such as 2.13. The first makes the network that the rows
begin with and are compared to; each row is a line of ``docs/raw/adapted.jsonl``. Meant for a GPU, and
for several at once. Needs ``../shared`` and ``pip install -e '.[peers]'``.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sosp_core.config import FinetuneConfig
from sosp_core.finetune.gradients import Direct, Replayed
from sosp_core.finetune.lesson import Lesson
from sosp_core.machine import describe_machine, pick_devices
from sosp_core.runtime.session import open_session, run
from sosp_core.structures.structures import Alive
from tests.benchmarks import lines
from tests.benchmarks.peers import by_torch_pruning
from tests.benchmarks.peers.ground import Ground, Settings, ours, recover, speed
from tests.benchmarks.peers.subjects import ROOT, SHARED, Network, export, prepared, residual, shaken

RAW = ROOT / "docs" / "raw" / "adapted.jsonl"
FILES = {"train": "cifar10_jpeg_train30k.npz", "test": "cifar10_jpeg_test10k.npz"}
ORIGINAL = SHARED / "models" / "resnet56_cifar10.onnx"
ADAPTED = ROOT / "build" / "benchmarks" / "resnet56_jpeg.onnx"
#: The pretrained network has seen these images without the artefacts of JPEG.
BASELINE_EPOCHS, BASELINE_RATE, BATCH = 40, 0.02, 128
#: Eight times the images of a step of the default, at three times its rate.
TRAINING = FinetuneConfig(epochs=30, batch_size=256, lr=0.1)

Masks = Callable[[Ground], dict[float, Alive]]


def _peer(criterion: str) -> tuple[Masks, bool, bool]:
    return partial(by_torch_pruning.masks, criterion=criterion), False, False


#: By name: who chooses, whether as a job would (streams too, in eights), and whether to compensate.
TOOLS: dict[str, tuple[Masks, bool, bool]] = {
    "sosp, default": (ours, True, True),
    "sosp, any width": (ours, False, True),
    **{name: _peer(name) for name in by_torch_pruning.CRITERIA if "GroupMagnitude" in name},
}


def images(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All of a part, decoded, as the network takes them; and labels."""
    with np.load(SHARED / "data" / FILES[part]) as z:
        offsets, packed, labels = z["offsets"], z["jpeg"], z["labels"].astype(np.int64)
    files = (packed[a:b].tobytes() for a, b in pairwise(offsets))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    return prepared(pixels), labels


def data(seed: int, number: int, place: Path) -> tuple[Path, Path]:
    """Files of so many training images, drawn by the seed, and of all test images."""
    (x, y), (x_test, y_test) = images("train"), images("test")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(x))[:number])
    train, test = place / "train.npz", place / "test.npz"
    np.savez(train, input=x[drawn], labels=y[drawn])
    np.savez(test, input=x_test, labels=y_test)
    return train, test


def network() -> Network:
    """The adapted network, judged and trained on images of its own."""
    return replace(residual("resnet56_jpeg", ADAPTED.read_bytes()), data=data)


def adapt(epochs: int, device: torch.device) -> None:
    """Train the original with labels, images flipped and shifted, down a cosine; and write it."""
    torch.manual_seed(0)
    net = residual("resnet56_cifar10", ORIGINAL.read_bytes()).module().to(device).train()
    x, y = (torch.as_tensor(a).to(device) for a in images("train"))
    optimizer = torch.optim.SGD(
        net.parameters(), BASELINE_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)

    def loss(lesson: Lesson) -> Tensor:
        assert lesson.labels is not None
        return F.cross_entropy(net(lesson.inputs[0]), lesson.labels)

    gradients = (Replayed if device.type == "cuda" else Direct)(net, loss)
    began = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(x), device=device)
        for batch in order.split(BATCH)[:steps]:
            last = gradients([Lesson(inputs=(shaken(x[batch]),), labels=y[batch])])
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: {time.monotonic() - began:.0f} s, loss {last:.3f}", flush=True)  # noqa: T201
    ADAPTED.parent.mkdir(parents=True, exist_ok=True)
    ADAPTED.write_bytes(export(net.cpu().eval()))
    _write({"tool": "baseline", "epochs": epochs, "accuracy": accuracy(ADAPTED.read_bytes())}, device)


def accuracy(content: bytes) -> float:
    """Share of the test images that ONNX Runtime answers right."""
    session, (x, y) = open_session(content, threads=4), images("test")
    answers = [run(session, {"input": x[i : i + 100]})["logits"].argmax(1) for i in range(0, len(x), 100)]
    return float((np.concatenate(answers) == y).mean())


def row(tool: str, factor: float, seed: int, epochs: float, number: int, device: torch.device) -> None:
    """Prune, train, judge, time; and write what came of it."""
    choose, whole, compensate = TOOLS[tool]
    share = 1 / factor
    settings = Settings(images=number, epochs=epochs, samples=1024, rounds=8, shares=(share,))
    training = replace(TRAINING, epochs=epochs)
    with tempfile.TemporaryDirectory() as place:
        ground = Ground.of(
            *(network(), seed, settings, Path(place)),
            whole=whole,
            compensate=compensate,
            training=training,
            device=device,
        )
    began = time.monotonic()
    alive = choose(ground)[share]
    chosen_s = time.monotonic() - began
    result = recover(ground, alive)
    told = {"tool": tool, "macs_by": factor, "seed": seed, "images": number, "epochs": epochs}
    told |= {name: round(value, 4) for name, value in asdict(result).items()}
    _write({**told, "choose_s": round(chosen_s, 1), "speed": speed(ground, alive)}, device)


def _write(told: lines.Row, device: torch.device) -> None:
    machine = describe_machine([device])
    told |= {"machine": machine["accelerator"] if device.type == "cuda" else machine["processor"]}
    print(json.dumps(told), flush=True)  # noqa: T201
    lines.add(RAW, told)


def main() -> None:
    """See the head of the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["baseline", "row"])
    parser.add_argument("tool", nargs="?", choices=list(TOOLS), default="sosp, default")
    parser.add_argument("by", nargs="?", type=float, default=2.13)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--images", type=int, default=30_000)
    given, device = parser.parse_args(), pick_devices(None)[0]
    if given.what == "baseline":
        adapt(int(given.epochs or BASELINE_EPOCHS), device)
    else:
        row(given.tool, given.by, given.seed, given.epochs or TRAINING.epochs or 1, given.images, device)


if __name__ == "__main__":
    main()
