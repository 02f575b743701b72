"""The table of ours against the best peer of each network, each pair at the same measured speed."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean, stdev

from tests.benchmarks import lines
from tests.benchmarks.page import RAW as PLACE
from tests.benchmarks.peers.rows import spread

RAW = PLACE / "equal_speed.jsonl"
OURS = "sosp, latency budget"
#: By network the peer that ends best at the same MACs, see ``against_peers.json``.
PEERS = {
    "resnet20_cifar10": "Torch-Pruning GroupMagnitude",
    "resnet56_cifar10": "Torch-Pruning GroupMagnitude",
    "vgg_cifar10": "onnxsim Wanda",
}


def reached(network: str, share: float, who: str) -> list[lines.Row]:
    """The rows of one side, a seed each."""
    wanted = {"network": network, "share": share, "who": who}
    return [row for row in lines.rows(RAW) if wanted.items() <= row.items()]


def ahead(network: str, share: float) -> tuple[float, float]:
    """By how much ours is more accurate, and the spread: the larger of the two standard deviations."""
    own, other = ([row["accuracy"] for row in reached(network, share, who)] for who in (OURS, PEERS[network]))
    return mean(own) - mean(other), max(stdev(own), stdev(other))


def table() -> Iterator[str]:
    """Pairs of rows, ours below the peer's."""
    yield "| | asked for | speed | MACs left | parameters left | before training | after | ahead |"
    yield "|---|---|---|---|---|---|---|---|"
    for network, share in dict.fromkeys((row["network"], row["share"]) for row in lines.rows(RAW)):
        for who in (PEERS[network], OURS):
            found = reached(network, share, who)
            told = "" if who != OURS or len(found) < 2 else _points(*ahead(network, share))
            cells = (
                f"{network}, {who}",
                f"{share:.0%} of the MACs" if who != OURS else "that time",
                f"{mean(row['speed'] for row in found):.2f}x",
                *(f"{mean(row[cost] for row in found):.1%}" for cost in ("macs", "params")),
                *(spread([row[quality] for row in found]) for quality in ("pruned", "accuracy")),
                told,
            )
            yield f"| {' | '.join(cells)} |"


def _points(difference: float, larger: float) -> str:
    return f"{100 * difference:+.1f} ({100 * larger:.1f})"


def text() -> str:
    """The whole table."""
    return "\n".join(table())
