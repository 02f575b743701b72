"""Ours under a latency budget against the best peer of each network, at the speed that the peer's plan has.

The peer prunes to a share of the MACs, which is all that it can be asked for. Its plan is timed against
the original, and ours is made for that time: whatever a job may take, in the widths that the clock likes.
Cut, training and judgement are one and the same, as in ``test_against_peers.py``. A row is written as soon
as it is done and not made again. Needs the networks and images of ``../shared``,
``pip install -e '.[peers]'``, and a core that does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("torch_pruning", reason="needs torch-pruning: pip install -e '.[peers]'")
pytest.importorskip("onnxsim", reason="needs onnxsim: pip install -e '.[peers]'")

from sosp_core.bench.compare import Comparison, compare
from sosp_core.config import BenchmarkConfig, Budget, Metric, Mode, PruneConfig
from sosp_core.progress import NullProgress
from sosp_core.stages.choose import offer, reach
from sosp_core.stages.cut import cut
from sosp_core.stages.trail import Trail
from sosp_core.structures.structures import Alive
from tests.benchmarks import lines
from tests.benchmarks.equal_speed import OURS, PEERS, RAW, ahead, reached
from tests.benchmarks.peers import by_onnxsim, by_torch_pruning, rows
from tests.benchmarks.peers.ground import CPU, Ground, Settings, recover
from tests.benchmarks.peers.subjects import network

SETTINGS = Settings()
CLOCK = BenchmarkConfig(batch_sizes=(1,), threads=(1,), min_time_s=3.0, max_time_s=20.0)
#: What a latency budget promises.
PROMISED = 0.03
#: Where ours does not win by more than the spread; see docs/benchmarks.md.
LEVEL = {("resnet56_cifar10", 0.5)}

pytestmark = [pytest.mark.benchmark, pytest.mark.shared, pytest.mark.timeout(4 * 3600)]


@pytest.mark.parametrize("seed", rows.SEEDS)
@pytest.mark.parametrize("name", PEERS)
def test_every_pair_gets_its_rows(
    name: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    subject = network(name)
    if subject is None:
        pytest.skip(f"needs {name} and cifar10_small.npz in ../shared, not part of the project")
    key = {"network": name, "seed": seed, "settings": SETTINGS.told()}
    if lines.find(RAW, **key, share=min(SETTINGS.shares), who=OURS):
        return
    ground = Ground.of(subject, seed, SETTINGS, tmp_path)
    for row in _pairs(ground, PEERS[name]):
        lines.add(RAW, {**key, **row})
        with capsys.disabled():
            print({**key, **row}, flush=True)  # noqa: T201


def _pairs(ground: Ground, peer: str) -> Iterator[lines.Row]:
    """Theirs and ours, by share."""
    by = by_torch_pruning if peer in by_torch_pruning.CRITERIA else by_onnxsim
    theirs = {share: alive for share, alive in by.masks(ground, peer).items() if alive is not None}
    timed = {share: _timed(ground, alive).speedup for share, alive in theirs.items()}
    own = _under_a_latency(ground, 1 / max(timed.values()))
    trail = Trail(own.subject, own.choice, NullProgress(), CPU)
    for share, alive in theirs.items():
        yield _row(ground, alive, share, peer)
        target = int(own.choice.total / timed[share])
        plan = reach(own.subject, own.choice, trail, target, NullProgress())
        tries = plan.latency.tries if plan.latency else ()
        told = {"asked": round(timed[share], 3), "tried": [round(1 / t.measured_share, 3) for t in tries]}
        yield {**_row(own, plan.alive, share, OURS), **told}


def _under_a_latency(ground: Ground, keep: float) -> Ground:
    """The same data and training; what may go, and how wide it stays, is what a job decides by itself."""
    recipe, settings = ground.subject.recipe, ground.settings
    budget = Budget(metric=Metric.LATENCY, keep=keep)
    prune = PruneConfig(budget=budget, rounds=settings.rounds, samples=settings.samples)
    asked = replace(recipe, mode=Mode.PRUNE, prune=prune, benchmark=CLOCK)
    subject = replace(ground.subject, recipe=asked)
    return replace(ground, subject=subject, choice=offer(subject))


def _row(ground: Ground, alive: Alive, share: float, who: str) -> lines.Row:
    timed = _timed(ground, alive)
    told = {k: round(v, 4) for k, v in asdict(recover(ground, alive)).items()}
    told |= {"speed": round(timed.speedup, 3), "low": round(timed.speedup_low, 3)}
    return {"share": share, "who": who, **told, "high": round(timed.speedup_high, 3)}


def _timed(ground: Ground, alive: Alive) -> Comparison:
    slim = cut(ground.subject, ground.choice, alive, CPU).model
    (found,) = compare(ground.network.content, slim, ground.subject.probe, CLOCK)
    return found


@pytest.mark.parametrize("share", SETTINGS.shares)
@pytest.mark.parametrize("name", PEERS)
def test_ours_is_as_fast_and_wins_by_more_than_the_spread(name: str, share: float) -> None:
    own, theirs = reached(name, share, OURS), reached(name, share, PEERS[name])
    if {row["seed"] for row in own} != set(rows.SEEDS):
        pytest.skip("no row for every seed yet")
    for ours, peer in zip(own, theirs, strict=True):
        assert ours["speed"] >= peer["speed"] * (1 - 2 * PROMISED), (ours, peer)
    difference, larger = ahead(name, share)
    assert (difference > larger) == ((name, share) not in LEVEL)
