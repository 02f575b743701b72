"""What devices that train together tell one another: weights one way, gradients the other.

One process for each device, and one of them leads: it owns the weights, the optimiser and every
decision. In each step it gives all of them its weights and the batch; each works on its part, and
what they found is added up at the leader. Nothing else is shared, so nothing else can come apart.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.finetune.lesson import Lesson

LEADER = 0
STOP, STEP = 0, 1
#: A mate waits while the leader judges, and the leader for a mate that was lost without a trace.
PATIENCE = timedelta(hours=1)
LESSON = "lesson.json"


def meet(place: Path, rank: int, size: int, device: torch.device) -> None:
    """Join the group that meets in a folder; all of its processes are on this machine."""
    if sys.platform == "linux":  # or they would look for one another by the name of the host
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{place / 'meeting'}",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )


def announce(order: int, device: torch.device) -> None:
    """As the leader, say what comes next."""
    dist.broadcast(torch.tensor([order], device=device), LEADER)


def listen(device: torch.device) -> int:
    """As a mate, wait for what comes next."""
    order = torch.zeros(1, dtype=torch.int64, device=device)
    dist.broadcast(order, LEADER)
    return int(order)


def describe(lesson: Lesson, place: Path) -> None:
    """Write down what every lesson looks like; in one training all look alike."""
    told = [[list(t.shape), str(t.dtype).removeprefix("torch.")] for t in lesson.tensors()]
    kind = {"inputs": len(lesson.inputs), "labels": lesson.labels is not None}
    (place / LESSON).write_text(json.dumps({"tensors": told, **kind, "mixed": lesson.share is not None}))


def blank(place: Path, device: torch.device) -> Lesson:
    """A lesson that looks like what was described, to be filled."""
    told = json.loads((place / LESSON).read_text())
    tensors = [torch.zeros(s, dtype=getattr(torch, kind), device=device) for s, kind in told["tensors"]]
    n, rest = told["inputs"], iter(tensors[told["inputs"] :])
    labels = next(rest) if told["labels"] else None
    others, share = (next(rest), next(rest)) if told["mixed"] else (None, None)
    return Lesson(inputs=tuple(tensors[:n]), labels=labels, others=others, share=share)


def ready(place: Path, rank: int) -> Path:
    """The file by which a mate tells that it goes to the meeting."""
    return place / f"ready-{rank}"


@torch.no_grad()
def hand_out(network: Network, lesson: Lesson, *, lead: bool) -> None:
    """Give all the leader's weights and lesson; a mate's own are overwritten."""
    state = [*network.parameters(), *network.statistics()]
    weights = _flat(state)
    for tensor in (weights, *lesson.tensors()):
        dist.broadcast(tensor, LEADER)
    if not lead:
        _spread(weights, state)


@torch.no_grad()
def add_up(network: Network, loss: float, share: float) -> float:
    """Add gradients, moved statistics and loss over the group, by shares of the batch.

    The leader's network is left with the sums; a mate's is of no more use.

    Returns:
        The loss of the whole batch, at the leader.
    """
    found = [p.grad for p in network.parameters() if p.grad is not None] + network.statistics()
    total = _flat([found[0].new_tensor([loss]), *found]) * share
    dist.reduce(total, LEADER)
    if dist.get_rank() == LEADER:
        _spread(total[1:], found)
    return float(total[0])


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _spread(flat: Tensor, tensors: list[Tensor]) -> None:
    parts = torch.split(flat, [t.numel() for t in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.reshape(tensor.shape))
