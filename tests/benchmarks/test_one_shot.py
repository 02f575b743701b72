"""Every criterion by itself: accuracy after masking a share of the inner channels, nothing trained.

Scores read training images; what is left is judged on test images that no score has seen. Needs the
networks and images of ``../shared``. Raw numbers go to ``docs/raw/one_shot.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sosp_core.config import Method, Metric
from sosp_core.cost.model import CostModel
from sosp_core.data.dataset import Dataset
from sosp_core.data.task import Kind, Task
from sosp_core.finetune.augment import augment
from sosp_core.ir.batchnorm import fold_batchnorm
from sosp_core.saliency import Scene, criteria
from sosp_core.saliency.folded import Folded, Rows
from sosp_core.saliency.mask_space import MaskSpace
from sosp_core.saliency.rows import gradient_and_root
from sosp_core.select.greedy import Rules, schedule, shrink
from sosp_core.structures.gating import gate_model
from sosp_core.structures.prices import AbsolutePrices, Prices, QuadraticPrices
from sosp_core.structures.structures import Alive
from tests.zoo.built import Built, prepare

ROOT = Path(__file__).parents[2]
SHARED, RAW = ROOT.parent / "shared", ROOT / "docs" / "raw" / "one_shot.json"
FOLDED = ROOT / "docs" / "raw" / "folded_root.json"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
#: Residual streams stay: only the channels inside a block compete.
STREAMS = ("/conv1/Conv", "*/conv2/Conv")
SAMPLES = 256
#: Three for each share: 22 with what is left over, at 2.65 gradient passes each.
ROUNDS = 21
#: Rows of a root: all there are, of 256 samples with 10 classes, and parts of them.
PLACES = (2_560, 1_280, 640, 320)
#: What was set out to be reached.
GOALS = {"resnet56_cifar10": {0.2: 0.889, 0.3: 0.87, 0.4: 0.82, 0.5: 0.76, 0.7: 0.55}}
TASK = Task(kinds=(Kind.LOGITS,), labelled=True)
MEAN, STD = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network whose inner channels compete, and the images that score and judge it."""

    name: str
    built: Built
    scored: Callable[[Task], MaskSpace]
    judged: MaskSpace


@pytest.fixture(scope="module", params=["resnet20_cifar10", "resnet56_cifar10"])
def subject(request: pytest.FixtureRequest) -> Subject:
    file = SHARED / "models" / f"{request.param}.onnx"
    if not file.exists():
        pytest.skip(f"needs {file.name} in ../shared, which is not part of the project")
    with np.load(SHARED / "data" / "cifar10_small.npz") as z:
        pick = np.random.default_rng(0).permutation(len(z["x_train"]))[:SAMPLES]
        train, test = prepared(z["x_train"][pick]), prepared(z["x_test"])
        labels, answers = (z[name].astype(np.int64) for name in ("y_train", "y_test"))
    views = augment(torch.as_tensor(train), frozenset({"flip", "shift"}), torch.Generator().manual_seed(0))
    built = prepare(file.read_bytes(), protect=STREAMS)
    return Subject(
        name=request.param,
        built=built,
        scored=partial(space, built, Dataset(inputs={"input": views.numpy()}, labels=labels[pick]), 32),
        judged=space(built, Dataset(inputs={"input": test}, labels=answers), 250, TASK),
    )


@pytest.mark.benchmark
@pytest.mark.shared
@pytest.mark.timeout(7200)
def test_accuracy_left_by_each_criterion(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {f"{method}, once": curve(subject, method, rounds=1) for method in criteria}
    rows[f"sosp-signed, {ROUNDS} rounds"] = curve(subject, Method.SOSP_SIGNED, rounds=ROUNDS)
    known = json.loads(RAW.read_text()) if RAW.exists() else {}
    known[subject.name] = {"shares": SHARES, "samples": SAMPLES, "accuracy": rows}
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    with capsys.disabled():
        print(f"\n{subject.name}: accuracy with {SHARES} of the inner channels masked")  # noqa: T201
        for name, row in rows.items():
            print(f"  {name:28}" + " ".join(f"{a:.3f}" for a in row))  # noqa: T201
    own = rows.pop(f"sosp-signed, {ROUNDS} rounds")
    others = [row for name, row in rows.items() if not name.startswith("sosp-signed")]
    for at, share in enumerate(SHARES):
        assert share < 0.3 or own[at] > max(row[at] for row in others), share
    for share, goal in GOALS.get(subject.name, {}).items():
        assert own[SHARES.index(share)] >= goal, share


@pytest.mark.benchmark
@pytest.mark.shared
@pytest.mark.timeout(7200)
def test_accuracy_left_by_a_folded_root(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """Correlations where a root has room for a part of its rows only; see ``Folded``."""
    rows = {}
    for method, kind in ((Method.SOSP_SIGNED, QuadraticPrices), (Method.SOSP_I, AbsolutePrices)):
        scored = subject.scored(criteria[method].task(TASK))
        whole = gradient_and_root(scored, subject.built.structures.all_alive(), 0)
        for places in PLACES:
            part = whole._replace(rows=folded(whole.rows, places))
            row = followed(subject, lambda alive, kind=kind, part=part: kind(*part), rounds=1)
            rows[f"{method}, {places:,} rows"] = row
            with capsys.disabled():
                told = " ".join(f"{a:.3f}" for a in row)
                print(f"\n{subject.name}, {method}, {places:,} rows: {told}", end="")  # noqa: T201
    known = json.loads(FOLDED.read_text()) if FOLDED.exists() else {}
    known[subject.name] = {"shares": SHARES, "samples": SAMPLES, "accuracy": rows}
    FOLDED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def folded(rows: Rows, places: int) -> Rows:
    """The root that has room for so many of these rows."""
    root = Folded(len(rows), rows.shape[1], places * rows[0].nbytes, seed=0)
    root.add(rows)
    return root.rows


def curve(subject: Subject, method: Method, rounds: int) -> list[float]:
    """Accuracy at each share; with rounds, scores are taken anew on the way to the last."""
    scored = subject.scored(criteria[method].task(TASK))
    scene = Scene(
        model=subject.built.model, structures=subject.built.structures, space=lambda: scored, seed=0
    )
    return followed(subject, partial(criteria[method], scene), rounds)


def followed(subject: Subject, price: Callable[[Alive], Prices], rounds: int) -> list[float]:
    """Accuracy at each share by prices at a mask."""
    structures = subject.built.structures
    cost = CostModel(structures, Metric.STRUCTURES)
    total = structures.count
    targets = [round(total * (1 - share)) for share in SHARES]
    steps = sorted({*targets, *schedule(total, targets[-1], rounds)}, reverse=True) if rounds > 1 else targets
    alive, prices, result = structures.all_alive(), None, []
    for target in steps:
        if prices is None or rounds > 1:
            prices = price(alive)
        alive = shrink(prices, alive, structures.groups, cost, target, Rules())
        if target in targets:
            result.append(accuracy(subject.judged, alive))
    return result


@torch.no_grad()
def accuracy(judged: MaskSpace, alive: Alive) -> float:
    mask, right, total = judged.mask(alive), 0, 0
    for n, batch in judged.batches():
        assert batch.labels is not None
        right += int((judged.outputs(mask, batch.inputs)[0].argmax(1) == batch.labels).sum())
        total += n
    return right / total


def space(built: Built, data: Dataset, batch: int, task: Task) -> MaskSpace:
    gated = gate_model(built.model, built.structures, built.shapes)
    fold_batchnorm(gated.model)
    return MaskSpace(gated, data, task, batch_size=batch, device=torch.device("cpu"))


def prepared(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / STD
