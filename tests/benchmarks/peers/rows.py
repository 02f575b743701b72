"""The rows of the comparison as a JSON file, and as the tables of the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import mean, median, stdev
from typing import Any

from tests.benchmarks.peers.ground import Result, Settings
from tests.benchmarks.peers.subjects import ROOT

RAW = ROOT / "docs" / "raw" / "against_peers.json"
SPEEDS = ROOT / "docs" / "raw" / "peers_speed.json"
SEEDS = (0, 1, 2)

Row = dict[str, Any]


def rows() -> list[Row]:
    """All that have been made so far."""
    return json.loads(RAW.read_text())["rows"] if RAW.exists() else []


def find(network: str, share: float, criterion: str, seed: int, settings: Settings) -> Row | None:
    """A row that was made with these settings."""
    wanted = {"network": network, "share": share, "criterion": criterion, "seed": seed}
    wanted["settings"] = settings.told()
    return next((r for r in rows() if all(r[k] == v for k, v in wanted.items())), None)


def add(
    network: str,
    share: float,
    criterion: str,
    seed: int,
    settings: Settings,
    result: Result | None,
    score_s: float,
) -> None:
    """Write a row at once, in the place of one of other settings; no result: the target was not reached."""
    key = {"network": network, "share": share, "criterion": criterion, "seed": seed}
    row = {**key, "settings": settings.told(), "score_s": round(score_s, 1)}
    row |= {k: round(v, 4) for k, v in asdict(result).items()} if result else {"accuracy": None}
    others = [r for r in rows() if any(r[k] != v for k, v in key.items())]
    lines = ",\n".join(json.dumps(r) for r in sorted([*others, row], key=_order))
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(f'{{"rows": [\n{lines}\n]}}\n')


def speeds() -> dict[str, str]:
    """How many times faster than the original a choice runs, by ``speed_key``; as it is told."""
    known: dict[str, str] = json.loads(SPEEDS.read_text()) if SPEEDS.exists() else {}
    return known


def add_speed(network: str, share: float, criterion: str, told: str) -> None:
    """Write down one of them at once."""
    known = {**speeds(), speed_key(network, share, criterion): told}
    SPEEDS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def speed_key(network: str, share: float, criterion: str) -> str:
    """The name of a measurement."""
    return f"{network} at {share:.0%}: {criterion}"


def _order(row: Row) -> tuple[str, float, str, int]:
    return row["network"], -row["share"], row["criterion"], row["seed"]


def table(network: str) -> Iterator[str]:
    """Criteria with mean and spread of the accuracy, by share; the best first."""
    own = finished(network)
    shares, fast = sorted({r["share"] for r in own}, reverse=True), speeds()
    heads = "".join(
        f" {s:.0%} of the MACs: reached | parameters | speed | before training | after |" for s in shares
    )
    yield f"| {network} |{heads} scores, training |"
    yield "|---|" + "---|---|---|---|---|" * len(shares) + "---|"
    for criterion in ranked(network):
        cells = []
        for share in shares:
            here = [r for r in own if r["criterion"] == criterion and r["share"] == share]
            cells += [percent([r[cost] for r in here]) for cost in ("macs", "params")]
            cells.append(fast.get(speed_key(network, share, criterion), ""))
            cells += [spread([r[quality] for r in here]) for quality in ("pruned", "accuracy")]
        took = " s, ".join(
            f"{median(r[t] for r in own if r['criterion'] == criterion):.0f}"
            for t in ("score_s", "finetune_s")
        )
        yield f"| {criterion} | {' | '.join(cells)} | {took} s |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation; how many, where there are not as many as seeds."""
    if not values:
        return "not run"
    many = "" if len(values) == len(SEEDS) else f" ({len(values)} seed{'s' * (len(values) > 1)})"
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "") + many


def percent(values: Sequence[float]) -> str:
    """The mean of shares."""
    return f"{mean(values):.1%}" if values else ""


def finished(network: str) -> list[Row]:
    """Rows that met their target."""
    return [r for r in rows() if r["network"] == network and r["accuracy"] is not None]


def ranked(network: str) -> list[str]:
    """Criteria by their mean accuracy over shares and seeds, the best first."""
    own = finished(network)
    reached = {c: [r["accuracy"] for r in own if r["criterion"] == c] for c in {r["criterion"] for r in own}}
    return sorted(reached, key=lambda c: (-mean(reached[c]), c))


def networks() -> list[str]:
    """Those that have rows, in their order."""
    return list(dict.fromkeys(r["network"] for r in rows()))


def tables() -> str:
    """All tables, one for each network."""
    return "\n\n".join("\n".join(table(n)) for n in networks())
