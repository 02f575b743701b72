"""Every criterion of ours after identical fine-tuning: the protocol of the comparison with peers.

Any width, compensated, the residual streams left alone. ``python -m tests.benchmarks.tables`` writes
the tables. Needs the networks and images of ``../shared``.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from sosp_core.config import Method
from tests.benchmarks import lines
from tests.benchmarks.after_training import METHODS, RAW
from tests.benchmarks.peers import rows
from tests.benchmarks.peers.ground import Ground, Settings, ours, recover
from tests.benchmarks.peers.subjects import network

NETWORKS = ("resnet20_cifar10", "vgg_cifar10", "resnet56_cifar10")
SETTINGS = Settings()

pytestmark = [pytest.mark.benchmark, pytest.mark.shared, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("seed", rows.SEEDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_criterion_gets_its_rows(
    name: str, method: Method, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    subject = network(name)
    if subject is None:
        pytest.skip(f"needs {name} and cifar10_small.npz in ../shared, not part of the project")
    key = {"network": name, "method": str(method), "seed": seed}
    missing = [s for s in SETTINGS.shares if lines.find(RAW, **key, share=s) is None]
    if missing:
        ground = _by(method, Ground.of(subject, seed, SETTINGS, tmp_path, compensate=True))
        made = ours(ground)
        for share in missing:
            result = {k: round(v, 4) for k, v in asdict(recover(ground, made[share])).items()}
            row = {**key, "share": share, "settings": SETTINGS.told(), **result}
            lines.add(RAW, row)
            with capsys.disabled():
                print(row, flush=True)  # noqa: T201
    assert all(lines.find(RAW, **key, share=s) for s in SETTINGS.shares)


def _by(method: Method, ground: Ground) -> Ground:
    recipe = ground.subject.recipe
    prune = replace(recipe.prune, method=method)
    return replace(ground, subject=replace(ground.subject, recipe=replace(recipe, prune=prune)))
