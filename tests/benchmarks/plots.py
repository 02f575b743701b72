"""The plots of ``docs/benchmarks.md``, made from the numbers in ``docs/raw``.

``python -m tests.benchmarks.plots`` writes them to ``docs/plots``.
"""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup

from tests.benchmarks import page, saliency_growth, tables
from tests.benchmarks.panels import Axis, Panel, Strip, grid, in_rows
from tests.benchmarks.peers import rows as peers
from tests.benchmarks.spreads import Tool, spreads

PLACE = page.ROOT / "docs" / "plots"
PEERS = {"resnet20_cifar10": "ResNet-20", "vgg_cifar10": "a small VGG", "resnet56_cifar10": "ResNet-56"}
#: In light and dark; blue and orange are told apart by every kind of colour blindness.
STYLE = Path(__file__).with_name("plots.css")


def plots() -> dict[str, str]:
    """All of them, by their file's name."""
    made = {f"one_shot_{key}": one_shot(key) for key in tables.ONE_SHOT}
    made |= {f"against_peers_{key}": against_peers(key) for key in peers.networks()}
    made["saliency_growth"] = growth()
    return {f"{name}.svg": alone(plot) for name, plot in made.items()}


def one_shot(key: str) -> Markup:
    """One panel a criterion, with all others behind it."""
    numbers = tables.numbers_of("one_shot")[key]
    lines = {
        name: list(zip(numbers["shares"], values, strict=True)) for name, values in tables.ranked(numbers)
    }
    panels = [
        Panel(name, {"after": own}, [other for other in lines.values() if other is not own])
        for name, own in lines.items()
    ]
    x = Axis("share of the inner channels masked", 0.08, 0.72, (0.2, 0.4, 0.6), "{:.0%}".format)
    y = Axis("accuracy", 0.0, 1.0, (0.0, 0.5, 1.0))
    title = f"{tables.ONE_SHOT[key]}: accuracy by criterion as more channels are masked, nothing trained"
    return grid(in_rows(panels, 4, x, y), title, [("after", "this criterion"), ("behind", "the others")])


def against_peers(key: str) -> Markup:
    """Accuracy after training by tool, at both shares of the MACs."""
    own = peers.finished(key)
    shares = sorted({row["share"] for row in own}, reverse=True)
    tools = [
        Tool(name, [_reached(own, name, share) for share in shares], own=name.startswith("sosp"))
        for name in peers.ranked(key)
    ]
    settings = [f"{share:.0%} of the MACs left" for share in shares]
    axis = "accuracy after one epoch: mean ± standard deviation, and each seed"
    return spreads(
        tools, settings, axis, f"{PEERS[key]}: accuracy after training, by what chose the channels"
    )


def _reached(own: list[dict[str, Any]], name: str, share: float) -> list[float]:
    return [row["accuracy"] for row in own if row["criterion"] == name and row["share"] == share]


def growth() -> Markup:
    """Passes above, memory below; one panel a criterion, one line a number of samples."""
    rows = saliency_growth.load()
    few, many = sorted({row.samples for row in rows})
    kinds, methods = {many: "after", few: "marked"}, saliency_growth.METHODS
    sizes = sorted({row.structures for row in rows})
    x = Axis("thousand structures", sizes[0] / 1.3, sizes[-1] * 1.3, sizes, _thousands, log=True)
    most = 5 * ceil(max(median(row.passes) for row in rows) / 5)
    passes = Axis("gradient passes", 0.0, most, range(0, most + 1, 5))
    memory = Axis("megabytes above the loaded network", 1.0, 4000.0, (1, 10, 100, 1000), log=True)
    found: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {
        which: {m: {kind: [] for kind in kinds.values()} for m in methods} for which in ("passes", "memory")
    }
    for row in rows:
        kind = kinds[row.samples]
        found["passes"][row.criterion][kind].append((row.structures, median(row.passes)))
        found["memory"][row.criterion][kind].append((row.structures, row.above / 1e6))
    strips = [
        Strip([Panel(m, {**found[which][m]}) for m in methods], x, y)
        for which, y in (("passes", passes), ("memory", memory))
    ]
    entries = [(kind, f"{samples:,} samples") for samples, kind in kinds.items()]
    return grid(strips, "What scores cost by the number of structures: gradient passes, and memory", entries)


def _thousands(value: float) -> str:
    return f"{value / 1000:g}"


def alone(plot: Markup) -> str:
    """A plot as a file, light or dark as the reader's system is."""
    opening, _, rest = str(plot).partition(">")
    ground = '<rect width="100%" height="100%" class="paper"/>'
    # An element a line, so that a change shows as what it is.
    lines = re.sub(r"<(?=text|line|polyline|rect|circle|/svg)", "\n<", rest)
    return f"{opening}>\n<style>\n{STYLE.read_text('utf-8')}</style>\n{ground}{lines}\n"


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for name, svg in plots().items():
        (PLACE / name).write_text(svg, "utf-8")
