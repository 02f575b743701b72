"""Masks of Torch-Pruning: its pruner on the torch network, its choices read off and cut like ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torch_pruning as tp
from numpy.typing import NDArray
from torch import Tensor, nn

from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.session import open_session, run
from sosp_core.structures.structures import STAYS, Alive
from sosp_core.surgery.apply import slim
from tests.benchmarks.peers.ground import Ground

#: Their default is 1; this is ours. It keeps a round from emptying a layer.
MAX_RATIO = 0.9
#: A threshold is looked for by halving; the widest of these networks has 1,008 channels to give.
HALVINGS = 12
#: The same sums in another order. Seen 1e-6.
TOLERANCE = 1e-4
BATCH = 32

Groups = list[Any]
Gone = dict[str, NDArray[np.int64]]
#: Leaves in the network, or in the importance, what the importance reads.
Score = Callable[[nn.Module, Any, Tensor, Tensor], None]


class MendedHessian(tp.importance.GroupHessianImportance):
    """Their importance, with the squared gradients of all samples.

    As shipped, ``accumulate_grad`` looks for a parameter's name and stores under the parameter: no
    sample finds the one before, and the last one is all that counts.
    """

    def accumulate_grad(self, model: nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                squared = parameter.grad.detach().square()
                self._accu_grad[parameter] = self._accu_grad.get(parameter, 0) + squared
                self._counter[parameter] = self._counter.get(parameter, 0) + 1


def no_score(model: nn.Module, importance: Any, x: Tensor, y: Tensor) -> None:
    """Weights alone."""


def gradient(model: nn.Module, importance: Any, x: Tensor, y: Tensor) -> None:
    """The gradient of the mean loss."""
    model.zero_grad()
    for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        (F.cross_entropy(model(images), labels, reduction="sum") / len(x)).backward()


def gradients(model: nn.Module, importance: Any, x: Tensor, y: Tensor) -> None:
    """Gradients sample by sample, as their documentation has it."""
    importance.zero_grad()
    for image, label in zip(x.split(1), y.split(1), strict=True):
        model.zero_grad()
        F.cross_entropy(model(image), label).backward()
        importance.accumulate_grad(model)


def last_gradient(model: nn.Module, importance: Any, x: Tensor, y: Tensor) -> None:
    """What the shipped importance makes of the same: a test shows that the others leave no trace."""
    gradients(model, importance, x[-1:], y[-1:])


class Peer(NamedTuple):
    """An importance of theirs.

    Attributes:
        round_to: What they make widths multiples of; None, their default, leaves any width.
    """

    importance: Callable[[], Any]
    score: Score
    round_to: int | None = None


CRITERIA: dict[str, Peer] = {
    "Torch-Pruning GroupMagnitude": Peer(tp.importance.GroupMagnitudeImportance, no_score),
    "Torch-Pruning GroupTaylor": Peer(tp.importance.GroupTaylorImportance, gradient),
    "Torch-Pruning GroupHessian": Peer(tp.importance.GroupHessianImportance, last_gradient),
    "Torch-Pruning GroupHessian, mended": Peer(MendedHessian, gradients),
    "Torch-Pruning GroupMagnitude, in eights": Peer(tp.importance.GroupMagnitudeImportance, no_score, 8),
    "Torch-Pruning GroupTaylor, in eights": Peer(tp.importance.GroupTaylorImportance, gradient, 8),
}


class Dial(list[float]):
    """A schedule of ratios that reads the same at every step, and can be turned."""

    ratio = 0.0

    def __getitem__(self, step: Any) -> Any:
        return self.ratio


def masks(ground: Ground, criterion: str) -> dict[float, Alive]:
    """By share. Scores are taken anew in each of as many rounds as ours, global over all layers.

    In a round the pruner's ratio is turned to the smallest that meets the round's MACs: the library
    has no target but a share of the channels.
    """
    peer = CRITERIA[criterion]
    importance, score = peer.importance(), peer.score
    module = ground.network.module()
    modules = dict(module.named_modules())
    dial = Dial()
    pruner = tp.pruner.BasePruner(
        *(module, torch.zeros(1, 3, 32, 32), importance),
        global_pruning=True,
        max_pruning_ratio=MAX_RATIO,
        round_to=peer.round_to,
        ignored_layers=[modules[name] for name in ground.network.fixed],
        iterative_steps=10**9,
        iterative_pruning_ratio_scheduler=lambda ratio, steps: dial,
    )
    present = {
        f"{n}.weight": np.arange(len(m.weight)) for n, m in modules.items() if isinstance(m, nn.Conv2d)
    }
    names = {module: f"{name}.weight" for name, module in modules.items()}
    samples = ground.samples()
    x, y = torch.as_tensor(samples.inputs["input"]), torch.as_tensor(samples.labels)

    def offered(ratio: float, alive: Alive) -> tuple[Groups, Gone, Alive]:
        """What the pruner would take at a ratio; nothing is taken yet."""
        dial.ratio = ratio
        groups = list(pruner.step(interactive=True))
        gone = dict(_gone(pruner, groups, names))
        left = alive.copy()
        for name, positions in gone.items():
            members = ground.choice.structures.slices[name][0][present[name][positions]]
            assert (members != STAYS).all(), f"{criterion} takes what we do not offer of {name}"
            left[members] = False
        return groups, gone, left

    made: dict[float, Alive] = {}
    alive = ground.choice.structures.all_alive()
    for share in ground.settings.shares:
        for aim in ground.aims(share):
            score(module, importance, x, y)
            low, high = 0.0, 1.0
            best = offered(high, alive)
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                found = offered(middle, alive)
                if ground.macs(found[2]) > aim:
                    low = middle
                else:
                    high, best = middle, found
            groups, gone, alive = best
            assert ground.macs(alive) <= aim, f"{criterion} does not reach {aim} MACs"
            for group in groups:
                group.prune()
            for name, positions in gone.items():
                present[name] = np.delete(present[name], positions)
        _require_same(ground, alive, module)
        made[share] = alive.copy()
    return made


def _gone(
    pruner: Any, groups: Groups, names: dict[nn.Module, str]
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Filters that groups take, by the weight they are filters of."""
    for group in groups:
        for dep, positions in group:
            target = dep.target.module
            if isinstance(target, nn.Conv2d) and pruner.DG.is_out_channel_pruning_fn(dep.handler):
                yield names[target], np.array(sorted(positions), np.int64)


@torch.no_grad()
def _require_same(ground: Ground, alive: Alive, module: nn.Module) -> None:
    """Their pruned network and our cut by their mask are the same function."""
    probe = ground.subject.probe
    model = slim(ground.subject.model, ground.choice.structures, alive)
    expected = module(torch.as_tensor(probe["input"])).numpy()
    error = relative_error(run(open_session(model), probe)["logits"], expected)
    assert error <= TOLERANCE, f"the mask read off is not what was pruned: {error:.1e}"


__all__: Sequence[str] = ("CRITERIA", "MendedHessian", "gradients", "last_gradient", "masks")
