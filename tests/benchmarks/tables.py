"""The tables of ``docs/benchmarks.md`` that are made from files of numbers.

``python -m tests.benchmarks.tables`` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from statistics import mean, median
from typing import Any

from tests.benchmarks import after_training, equal_speed, page, saliency_growth
from tests.benchmarks.peers import rows as peers

#: As people write the networks, in the order of the page.
ONE_SHOT = {"resnet56_cifar10": "ResNet-56", "resnet20_cifar10": "ResNet-20"}


def one_shot() -> str:
    """Accuracy by criterion and share, a table for each network."""
    told = numbers_of("one_shot")
    return "\n\n".join(f"{name}:\n\n{_curves(told[key])}" for key, name in ONE_SHOT.items())


def folded_root() -> str:
    """The same by the rows of a root."""
    told = numbers_of("folded_root")
    return "\n\n".join(f"{name}:\n\n{_curves(told[key])}" for key, name in ONE_SHOT.items())


def numbers_of(name: str) -> dict[str, Any]:
    """A file of numbers."""
    numbers: dict[str, Any] = json.loads((page.RAW / f"{name}.json").read_text())
    return numbers


def ranked(numbers: dict[str, Any]) -> list[tuple[str, Sequence[float]]]:
    """Criteria and what they keep at each share, the best on average first."""
    accuracy: dict[str, Sequence[float]] = numbers["accuracy"]
    return sorted(accuracy.items(), key=lambda row: (-mean(row[1]), row[0]))


def _curves(numbers: dict[str, Any]) -> str:
    lines = [_row("criterion", *(f"{share:.0%}" for share in numbers["shares"]))]
    lines.append("|---" * (len(numbers["shares"]) + 1) + "|")
    for name, accuracies in ranked(numbers):
        method, _, times = name.partition(", ")
        lines.append(_row(f"`{method}`, {times}", *(f"{a:.3f}" for a in accuracies)))
    return "\n".join(lines)


def growth() -> str:
    """Gradient passes and memory by criterion and size."""
    return "\n".join(_growth())


def _growth() -> Iterator[str]:
    rows = saliency_growth.load()
    yield _row("structures", "samples", "one gradient pass", *(f"`{m}`" for m in saliency_growth.METHODS))
    yield "|---" * (3 + len(saliency_growth.METHODS)) + "|"
    for size in dict.fromkeys((row.structures, row.samples) for row in rows):
        here = {row.criterion: row for row in rows if (row.structures, row.samples) == size}
        cells = [here[m] for m in saliency_growth.METHODS]
        told = [f"{median(row.passes):.1f} passes, {_megabytes(row.above)}" for row in cells]
        yield _row(f"{size[0]:,}", f"{size[1]:,}", f"{cells[0].gradient_s:.2f} s", *told)


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


#: By the name of their file of numbers.
TABLES: dict[str, Callable[[], str]] = {
    "one_shot": one_shot,
    "against_peers": peers.tables,
    "equal_speed.jsonl": equal_speed.text,
    "after_training.jsonl": after_training.text,
    "saliency_growth": growth,
    "folded_root": folded_root,
}

if __name__ == "__main__":
    for name, made in TABLES.items():
        page.write(name, made())
