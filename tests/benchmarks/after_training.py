"""The tables of all criteria after identical fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from sosp_core.config import Method
from tests.benchmarks import lines
from tests.benchmarks.page import RAW as PLACE
from tests.benchmarks.peers.rows import spread

RAW = PLACE / "after_training.jsonl"
METHODS = tuple(m for m in Method if m is not Method.AUTO)


def table(network: str) -> Iterator[str]:
    """Criteria with mean and spread of the accuracy before and after, by share; the best first."""
    own = [row for row in lines.rows(RAW) if row["network"] == network]
    shares = sorted({row["share"] for row in own}, reverse=True)
    heads = "".join(f" {s:.0%} of the MACs: before training | after |" for s in shares)
    yield f"| {network} |{heads}"
    yield "|---|" + "---|---|" * len(shares)
    by_method = {m: [row for row in own if row["method"] == m] for m in {row["method"] for row in own}}
    for method, found in sorted(by_method.items(), key=lambda item: -mean(r["accuracy"] for r in item[1])):
        cells = [
            spread([row[quality] for row in found if row["share"] == share])
            for share in shares
            for quality in ("pruned", "accuracy")
        ]
        yield f"| `{method}` | {' | '.join(cells)} |"


def text() -> str:
    """All tables."""
    return "\n\n".join("\n".join(table(n)) for n in dict.fromkeys(row["network"] for row in lines.rows(RAW)))
