"""Our default against Torch-Pruning and onnxsim: the same MACs, images, training and seeds, in one run.

Each tool chooses what stays; everything after that is one and the same: the cut, the fine-tuning and
the judgement on test images that nothing has seen. That the cut is what the tool itself made of its
choice is checked each time. A row is written to ``docs/raw/against_peers.json`` as soon as it is done
and is not made again: a run that was cut short goes on. Needs the networks and images of
``../shared`` and ``pip install -e '.[peers]'``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch

pytest.importorskip("torch_pruning", reason="needs torch-pruning: pip install -e '.[peers]'")
pytest.importorskip("onnxsim", reason="needs onnxsim: pip install -e '.[peers]'")

from sosp_core.structures.structures import Alive
from tests.benchmarks.peers import by_onnxsim, by_torch_pruning, rows
from tests.benchmarks.peers.ground import Ground, Settings, ours, recover, speed
from tests.benchmarks.peers.subjects import Network, network

NETWORKS = ("resnet20_cifar10", "vgg_cifar10", "resnet56_cifar10")
DEFAULT, COMPENSATED = "sosp, default", "sosp, compensated"
SETTINGS = Settings()

pytestmark = [pytest.mark.benchmark, pytest.mark.shared, pytest.mark.timeout(4 * 3600)]

Masks = Callable[[Ground], dict[float, Alive | None]]


def _by_sosp(ground: Ground) -> dict[float, Alive | None]:
    return {**ours(ground)}


#: Masks of ours by network, seed and freedom: with compensation they are the same as without.
MADE: dict[tuple[str, int, bool], tuple[dict[float, Alive | None], float]] = {}


#: By name: how the masks are made, what may go, and whether what stays is compensated.
CRITERIA: dict[str, tuple[Masks, bool, bool]] = {
    DEFAULT: (_by_sosp, True, True),
    "sosp": (_by_sosp, False, False),
    COMPENSATED: (_by_sosp, False, True),
    **{c: (partial(by_torch_pruning.masks, criterion=c), False, False) for c in by_torch_pruning.CRITERIA},
    **{c: (partial(by_onnxsim.masks, criterion=c), False, False) for c in by_onnxsim.CRITERIA},
}
#: Where ours does not win by more than the spread; see docs/benchmarks.md.
LEVEL = {
    ("resnet56_cifar10", 0.5, DEFAULT),
    ("resnet20_cifar10", 0.5, COMPENSATED),
    ("vgg_cifar10", 0.5, COMPENSATED),
    ("resnet56_cifar10", 0.5, COMPENSATED),
    ("resnet56_cifar10", 0.35, COMPENSATED),
}
IN_EIGHTS = [name for name, peer in by_torch_pruning.CRITERIA.items() if peer.round_to == 8]
IN_ANY_WIDTH = [
    *(name for name in by_torch_pruning.CRITERIA if name not in IN_EIGHTS),
    *by_onnxsim.CRITERIA,
]


@pytest.fixture(params=NETWORKS)
def subject(request: pytest.FixtureRequest) -> Network:
    torch.set_num_threads(1)
    found = network(request.param)
    if found is None:
        pytest.skip(f"needs {request.param} and cifar10_small.npz in ../shared, not part of the project")
    return found


@pytest.mark.parametrize("seed", rows.SEEDS)
def test_every_tool_gets_its_rows(
    subject: Network, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for criterion in CRITERIA:
        for told in _rows(subject, criterion, seed, tmp_path):
            with capsys.disabled():
                print(told, flush=True)  # noqa: T201
    for criterion in CRITERIA:
        for share in SETTINGS.shares:
            assert rows.find(subject.name, share, criterion, seed, SETTINGS)


def test_how_fast_each_choice_runs(
    subject: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the original, one seed, nothing trained; wants a machine with nothing else to do."""
    for criterion, (_, whole, _) in CRITERIA.items():
        if criterion == COMPENSATED:  # the widths of "sosp"
            continue
        ground = Ground.of(subject, rows.SEEDS[0], SETTINGS, tmp_path, whole=whole)
        for share, alive in _masks(ground, criterion, rows.SEEDS[0])[0].items():
            if alive is not None:
                rows.add_speed(subject.name, share, criterion, told := speed(ground, alive))
                with capsys.disabled():
                    print(f"{subject.name} {share:.0%} {criterion}: {told}", flush=True)  # noqa: T201


def _rows(subject: Network, criterion: str, seed: int, place: Path) -> Iterator[str]:
    """Make the rows that are missing."""
    find = partial(rows.find, subject.name, criterion=criterion, seed=seed, settings=SETTINGS)
    missing = [share for share in SETTINGS.shares if find(share=share) is None]
    if not missing:
        return
    _, whole, compensate = CRITERIA[criterion]
    ground = Ground.of(subject, seed, SETTINGS, place, whole=whole, compensate=compensate)
    made, score_s = _masks(ground, criterion, seed)
    for share in missing:
        alive = made[share]
        result = None if alive is None else recover(ground, alive)
        rows.add(subject.name, share, criterion, seed, SETTINGS, result, score_s)
        yield f"{subject.name} {share:.0%} {criterion}, seed {seed}: {result}"


def _masks(ground: Ground, criterion: str, seed: int) -> tuple[dict[float, Alive | None], float]:
    """What a tool chooses, and the seconds it takes to."""
    choose, whole, _ = CRITERIA[criterion]
    key = ground.network.name, seed, whole
    if choose is _by_sosp and key in MADE:
        return MADE[key]
    began = time.monotonic()
    made = choose(ground), time.monotonic() - began
    if choose is _by_sosp:
        MADE[key] = made
    return made


@pytest.mark.parametrize(
    ("own", "peers"),
    [(DEFAULT, IN_EIGHTS), (COMPENSATED, IN_ANY_WIDTH)],
    ids=["in-eights", "in-any-width"],
)
@pytest.mark.parametrize("share", SETTINGS.shares)
def test_ours_wins_by_more_than_the_spread(
    subject: Network, share: float, own: str, peers: list[str]
) -> None:
    """Over seeds, against the best peer: the spread is the larger of the two standard deviations."""
    reached: dict[str, list[float]] = {}
    for criterion in (own, *peers):
        found = [rows.find(subject.name, share, criterion, seed, SETTINGS) for seed in rows.SEEDS]
        if None in found:
            pytest.skip(f"{criterion} has no row for every seed yet")
        known = [row["accuracy"] for row in found if row and row["accuracy"] is not None]
        if len(known) == len(rows.SEEDS):
            reached[criterion] = known
    ahead = reached.pop(own)
    best = max(reached, key=lambda c: mean(reached[c]))
    wins = mean(ahead) - mean(reached[best]) > max(stdev(ahead), stdev(reached[best]))
    assert wins == ((subject.name, share, own) not in LEVEL), (best, ahead, reached[best])


def test_the_shipped_hessian_sees_the_last_sample_only() -> None:
    """Why that row is scored with one sample, and what is mended in the other."""
    import torch_pruning as tp

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 900, 10))
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    seen: dict[str, torch.Tensor] = {}
    for name, importance, score in (
        ("shipped", tp.importance.GroupHessianImportance(), by_torch_pruning.gradients),
        ("last", tp.importance.GroupHessianImportance(), by_torch_pruning.last_gradient),
        ("mended", by_torch_pruning.MendedHessian(), by_torch_pruning.gradients),
    ):
        score(module, importance, x, y)
        weight = module[0].weight
        seen[name] = importance._accu_grad[weight] / importance._counter[weight]
    assert torch.equal(seen["shipped"], seen["last"])
    singles = []
    for image, label in zip(x.split(1), y.split(1), strict=True):
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(image), label).backward()
        singles.append(module[0].weight.grad.square())
    torch.testing.assert_close(seen["mended"], torch.stack(singles).mean(0))
    assert not torch.allclose(seen["shipped"], seen["mended"])
