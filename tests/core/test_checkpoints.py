"""A second try goes on where the first one was killed, and ends with the same file."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from sosp_core import compress
from sosp_core.checkpoints import CheckpointFolder, Kept, NoCheckpoints, Sink
from sosp_core.config import Budget, FinetuneConfig, Mode, Optimizer, Recipe
from sosp_core.errors import Cancelled
from sosp_core.finetune.loop import Trainer
from sosp_core.pipeline import Outcome
from tests.core.digits import digits_model, recipe, save_digits
from tests.core.finetune.test_loop import Explodes, StopsAfter, network, trainer, weights
from tests.core.test_gradual import Listener

ROOT = Path(__file__).parents[2]
LONGER = FinetuneConfig(steps=20, batch_size=32, augment="shift", holdout=0.25, lr=0.05)


def kept(folder: Path, key: str = "same", every_s: float = 0.0) -> Kept:
    return Kept(CheckpointFolder(folder, every_s), lambda: key)


def write(content: bytes) -> object:
    return lambda file: file.write(content)


def test_what_is_kept_is_found_by_the_same_work_only(tmp_path: Path) -> None:
    kept(tmp_path).save("plan", write(b"first"), seconds=1.0)  # type: ignore[arg-type]
    kept(tmp_path).save("plan", write(b"second"), seconds=2.5)  # type: ignore[arg-type]
    assert kept(tmp_path).load("plan") == (b"second", 2.5)
    assert kept(tmp_path, "other").load("plan") is None
    assert kept(tmp_path).load("cut") is None
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    kept(tmp_path).save("plan", write(b"content"))  # type: ignore[arg-type]
    file = tmp_path / "plan"
    whole = file.read_bytes()
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert kept(tmp_path).load("plan") is None, position
        file.write_bytes(whole[:position])
        assert kept(tmp_path).load("plan") is None, position
    file.write_bytes(whole)
    assert kept(tmp_path).load("plan") == (b"content", 0.0)


def test_a_full_disk_costs_the_checkpoint_and_not_what_was_there(tmp_path: Path) -> None:
    def fails(file: Sink) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    kept(tmp_path).save("plan", write(b"whole"))  # type: ignore[arg-type]
    kept(tmp_path).save("plan", fails)
    assert kept(tmp_path).load("plan") == (b"whole", 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_who_keeps_nothing_is_not_asked_for_a_key() -> None:
    def key() -> str:
        raise AssertionError("costs a pass over the data")

    nothing = Kept(NoCheckpoints(), key)
    nothing.save("plan", write(b"x"))  # type: ignore[arg-type]
    assert nothing.load("plan") is None


def interrupted(folder: Path, config: FinetuneConfig, steps: int, kind: type[Trainer] = Trainer) -> None:
    """A run that was stopped after ``steps``, and whose process is gone."""
    with pytest.raises(Cancelled):
        trainer(network(noise=0.3), config, kind=kind, kept=kept(folder), progress=StopsAfter(steps)).run()
    torch.rand(3)  # whatever else draws from the global generator


@pytest.mark.parametrize(
    "config",
    [
        replace(LONGER, optimizer=Optimizer.SGD),
        replace(LONGER, optimizer=Optimizer.ADAMW, lr=None),
        replace(LONGER, augment="auto"),
    ],
    ids=["sgd", "adamw", "mixtures"],
)
@pytest.mark.parametrize("steps", [1, 6, 8])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, config: FinetuneConfig, steps: int
) -> None:
    undisturbed = network(noise=0.3)
    expected = trainer(undisturbed, config).run()
    interrupted(tmp_path, config, steps)
    interrupted(tmp_path, config, 3)  # and once more
    resumed = network(noise=0.3)
    trained = trainer(resumed, config, kept=kept(tmp_path), progress=StopsAfter(100)).run()
    before, after = weights(undisturbed), weights(resumed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (trained.steps, trained.points, trained.best) == (20, expected.points, expected.best)


def test_a_run_that_had_to_lower_its_rate_keeps_it_low(tmp_path: Path) -> None:
    Explodes.times = 2
    undisturbed = network(noise=0.3)
    trainer(undisturbed, LONGER, kind=Explodes).run()
    Explodes.times = 2
    interrupted(tmp_path, LONGER, 5, Explodes)
    resumed = network(noise=0.3)
    trained = trainer(resumed, LONGER, kind=Explodes, kept=kept(tmp_path)).run()
    assert trained.restarts == 2
    assert all(torch.equal(weights(undisturbed)[n], w) for n, w in weights(resumed).items())


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, second = network(noise=0.3), network(noise=0.3)
    trainer(first, LONGER, kept=kept(tmp_path)).run()
    progress = StopsAfter(0)  # it would stop before the first step
    history = trainer(second, LONGER, kept=kept(tmp_path), progress=progress).run()
    assert history.steps == 20
    assert progress.metrics == []
    assert all(torch.equal(weights(first)[n], w) for n, w in weights(second).items())


@dataclass
class Spy:
    """A folder that tells what was looked for, saved and found."""

    folder: CheckpointFolder
    every_s: float = 0.0
    saved: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def save(self, name: str, write: object) -> None:
        self.saved.append(name)
        self.folder.save(name, write)  # type: ignore[arg-type]

    def load(self, name: str) -> bytes | None:
        content = self.folder.load(name)
        self.found += [name] if content else []
        return content


def test_another_recipe_model_or_data_starts_over(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "data.npz")
    other = save_digits(tmp_path / "other.npz", first=400)

    def run(job: object, samples: Path) -> Spy:
        spy = Spy(CheckpointFolder(tmp_path / "kept"))
        out = tmp_path / "out"
        compress(digits_model(), samples, job, out_dir=out, device="cpu", checkpoints=spy)  # type: ignore[arg-type]
        return spy

    assert run(recipe(), data).found == []
    again = run(recipe(), data)
    assert (again.found, again.saved) == (["score", "cut", "finetune"], ["finetune"])
    for spy in (run(replace(recipe(), seed=9), data), run(recipe(), other)):
        assert spy.found  # the files are there
        assert set(spy.saved) == {"score", "cut", "finetune"}  # and not believed


KILLED = """
import os, signal, sys
from pathlib import Path
from sosp_core import compress
from sosp_core.checkpoints import CheckpointFolder
from sosp_core.progress import NullProgress
from tests.core.digits import recipe

place, moments = Path(sys.argv[1]), sys.argv[2:]
class Fatal(NullProgress):
    def report(self, stage, done, message="", **more):
        if f"{stage} {message}".startswith(when):
            os.kill(os.getpid(), signal.SIGKILL)

for when in moments:
    child = os.fork()  # before anything has been computed: no threads yet
    if child == 0:
        compress(place / "model.onnx", place / "data.npz", recipe(), out_dir=place / "out", device="cpu",
                 progress=Fatal(), checkpoints=CheckpointFolder(place / "kept", every_s=0.0))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_a_job_killed_in_stage_after_stage_leaves_the_file_of_an_undisturbed_one(tmp_path: Path) -> None:
    data = save_digits(tmp_path / "data.npz")
    (tmp_path / "model.onnx").write_bytes(digits_model())
    undisturbed = compress(digits_model(), data, recipe(), out_dir=tmp_path / "calm", device="cpu")
    moments = ["cut", "finetune step 3", "finetune step 6", "evaluate"]
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), *moments], cwd=ROOT, check=True)
    spy = Spy(CheckpointFolder(tmp_path / "kept"))
    resumed = compress(
        digits_model(), data, recipe(), out_dir=tmp_path / "out", device="cpu", checkpoints=spy
    )
    assert (spy.found, spy.saved) == (["score", "cut", "finetune"], ["finetune"])
    assert resumed.model.read_bytes() == undisturbed.model.read_bytes()
    assert resumed.plan.read_bytes() == undisturbed.plan.read_bytes()


SEVERAL = {
    "sweep": replace(recipe(), mode=Mode.SWEEP, prune=replace(recipe().prune, sweep=(0.7, 0.5, 0.3))),
    "search": recipe(budget=Budget(max_drop=0.2)),
}


@pytest.mark.parametrize("job", SEVERAL.values(), ids=SEVERAL)
def test_a_job_of_several_models_goes_on_with_the_one_it_was_at(job: Recipe, tmp_path: Path) -> None:
    data = save_digits(tmp_path / "data.npz")

    def run(out: str, **more: object) -> Outcome:
        return compress(digits_model(), data, job, out_dir=tmp_path / out, device="cpu", **more)  # type: ignore[arg-type]

    undisturbed = run("calm")
    with pytest.raises(Cancelled):
        run(
            "first",
            checkpoints=CheckpointFolder(tmp_path / "kept", 0.0),
            progress=Listener(stop_when="model 3"),
        )
    spy, listener = Spy(CheckpointFolder(tmp_path / "kept")), Listener()
    resumed = run("out", checkpoints=spy, progress=listener)
    done = [f"model{number}.{stage}" for number in (1, 2) for stage in ("score", "cut", "finetune")]
    assert spy.found == done
    trained = [m for _, m in listener.messages if m.startswith(("model 1", "model 2")) and ": step" in m]
    assert trained == [], "nothing that was done is done again"
    for one, other in zip(undisturbed.files, resumed.files, strict=True):
        if one.suffix == ".onnx":
            assert one.read_bytes() == other.read_bytes(), one.name
    assert resumed.plan.read_bytes() == undisturbed.plan.read_bytes()
    assert resumed.report.tries == undisturbed.report.tries
