"""What all tools share: the data, the budget, and everything that happens to a mask once it is chosen."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from sosp_core.bench.compare import compare
from sosp_core.config import BenchmarkConfig, FinetuneConfig, Mode, PruneConfig, Recipe
from sosp_core.data.dataset import Dataset
from sosp_core.finetune.features import shared_features
from sosp_core.progress import NullProgress
from sosp_core.runtime.session import open_session, run
from sosp_core.select.greedy import schedule
from sosp_core.stages.choose import Choice, offer
from sosp_core.stages.cut import cut
from sosp_core.stages.recover import train, write
from sosp_core.stages.subject import Subject, convert, load
from sosp_core.stages.trail import Trail
from sosp_core.structures.structures import Alive
from tests.benchmarks.peers.subjects import Network

CPU = torch.device("cpu")
JUDGED_AT_ONCE = 50


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a row was made with; rows of other settings are made anew.

    Attributes:
        images: Training images that a run may use, drawn anew for each seed.
        epochs: Of fine-tuning, over nine tenths of those images.
        samples: Of the images, in one view each, that scores and calibration read.
        rounds: Times that scores are taken anew on the way to the smaller budget.
        shares: Of the MACs, to keep.
    """

    images: int = 1500
    epochs: float = 1.0
    samples: int = 128
    rounds: int = 8
    shares: tuple[float, ...] = (0.5, 0.35)

    def told(self) -> dict[str, object]:
        """For JSON; the shares are columns of their own."""
        return {name: value for name, value in asdict(self).items() if name != "shares"}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A network with its data under one seed, what may be taken out of it, and where that is computed."""

    network: Network
    settings: Settings
    subject: Subject
    choice: Choice
    device: torch.device = CPU

    @classmethod
    def of(
        cls,
        network: Network,
        seed: int,
        settings: Settings,
        place: Path,
        *,
        whole: bool = False,
        compensate: bool = False,
        training: FinetuneConfig | None = None,
        device: torch.device = CPU,
    ) -> Ground:
        """Lay it out.

        Args:
            network: What is pruned.
            seed: Draws images, views, held-out images and the order of training.
            settings: How much of everything.
            place: For the data files.
            whole: Free to take what our own front door offers, in the widths it prefers; else only
                what the peers can take, in any width, which is what they do.
            compensate: Fold least-squares predictions of what goes into what stays.
            training: How to train; by default as any job, for the epochs of the settings.
            device: Where to.
        """
        prune = PruneConfig(
            sweep=settings.shares,
            rounds=settings.rounds,
            samples=settings.samples,
            round_to=None if whole else 1,
            protect=() if whole else network.streams,
            compensate=compensate,
        )
        training = training or FinetuneConfig(epochs=settings.epochs)
        recipe = Recipe(mode=Mode.SWEEP, prune=prune, finetune=training, seed=seed)
        train, test = network.data(seed, settings.images, place)
        subject = convert(load(network.content, train, test, recipe))
        return cls(network=network, settings=settings, subject=subject, choice=offer(subject), device=device)

    def aims(self, share: float) -> list[int]:
        """MACs to be left after each round, from the next larger budget down to this one."""
        choice = self.choice
        larger = min((s for s in self.settings.shares if s > share), default=1.0)
        part = (larger - share) / (1 - min(self.settings.shares))
        rounds = int(np.ceil(self.settings.rounds * part))
        return schedule(int(choice.total * larger), self.target(share), rounds)

    def target(self, share: float) -> int:
        return int(self.choice.total * share)

    def macs(self, alive: Alive) -> int:
        return self.choice.cost.total(self.choice.cost.kept(alive))

    def samples(self) -> Dataset:
        """The images that every score reads, ours too: the same, in the same views."""
        return self.subject.samples()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a mask."""

    macs: float
    params: float
    pruned: float
    accuracy: float
    finetune_s: float


def ours(ground: Ground) -> dict[float, Alive]:
    """Masks of the default method, by share."""
    trail = Trail(ground.subject, ground.choice, NullProgress(), ground.device)
    return {share: trail.reach(ground.target(share)) for share in ground.settings.shares}


def recover(ground: Ground, alive: Alive) -> Result:
    """Cut, fine-tune, write and judge, in the way of any job; the same for every tool's mask.

    The last weights are judged, not those that did best on held-out mixtures: a run of so few steps
    may end a little further from the original there than where it began, though it answers far more
    samples right, and would then be judged as if it had not been trained.
    """
    subject, choice = ground.subject, ground.choice
    plan = choice.plan(alive)
    slim = cut(subject, choice, alive, ground.device)
    began = time.monotonic()
    trained = train(
        *(subject, slim.model, subject.recipe.finetune, NullProgress(), [ground.device]),
        lambda *networks: shared_features(choice.structures, alive, *networks),
        last=True,
    )
    took = time.monotonic() - began
    content, _ = write(subject, trained)
    return Result(
        macs=plan.after["macs"] / plan.before["macs"],
        params=plan.after["params"] / plan.before["params"],
        pruned=accuracy(subject, slim.model),
        accuracy=accuracy(subject, content),
        finetune_s=took,
    )


def speed(ground: Ground, alive: Alive) -> str:
    """How many times faster than the original, batch 1, one thread, with its 95 % interval."""
    subject = ground.subject
    slim_model = cut(subject, ground.choice, alive, CPU).model
    config = BenchmarkConfig(batch_sizes=(1,), threads=(1,))
    (found,) = compare(ground.network.content, slim_model, subject.probe, config)
    return f"{found.speedup:.2f}x [{found.speedup_low:.2f}, {found.speedup_high:.2f}]"


def accuracy(subject: Subject, model: ir.Model | bytes) -> float:
    """Share of the test images answered right, by ONNX Runtime."""
    session, judged = open_session(model, threads=1), subject.evaluation
    assert judged is not None
    assert judged.labels is not None
    answers = [run(session, part.inputs)["logits"].argmax(1) for part in judged.batches(JUDGED_AT_ONCE)]
    return float((np.concatenate(answers) == judged.labels).mean())
