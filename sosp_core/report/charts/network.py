"""A network as a drawing: one row a block, in the order of the graph, joined by tracks on the left.

A track runs down from the block that makes a value to the last that reads it, so branches and shortcuts are
seen side by side, and a thousand rows read like twenty. The colour of a stop is the share of its channels
that went; what stayed for a reason is hatched and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sosp_core.report.block import Block, Fate
from sosp_core.report.charts.svg import CHARACTER, legend, line, picture, rect, shortened, tag, text

ROW, TOP, PAD = 24.0, 34.0, 12.0
LANE, LANES = 20.0, 240.0
NAME, OPS, BAR, TOLD = 250.0, 250.0, 120.0, 170.0
STOP = 14.0
#: The picture has so many rows at most; the table has them all.
MOST_DRAWN = 1200


def network(blocks: Sequence[Block], title: str = "The network, layer by layer") -> Markup:
    """The first ``MOST_DRAWN`` blocks, one below the other."""
    blocks = blocks[:MOST_DRAWN]
    lanes = _lanes(blocks)
    pitch = min(LANE, LANES / max(max(lanes, default=0), 1))
    left = PAD + STOP + pitch * max(lanes, default=0)
    at = [_Stop(PAD + STOP / 2 + pitch * lane, TOP + ROW * (row + 0.5)) for row, lane in enumerate(lanes)]
    widest = max((block.before or 0 for block in blocks), default=0) or 1
    parts = [_hatch(), _legend(blocks)]
    for stop, block in zip(at, blocks, strict=True):
        parts += [_track(at[source], stop) for source in block.reads]
    for stop, block in zip(at, blocks, strict=True):
        parts.append(_row(block, stop, left + 10, widest))
    width = left + NAME + OPS + BAR + TOLD
    return picture(TOP + ROW * len(blocks) + PAD, title, parts, width=width, kind="network")


def share(block: Block) -> str:
    """The class that colours a stop: ``share0`` to ``share4`` of channels gone, or its fate."""
    if block.fate in (Fate.CUT, Fate.WHOLE):
        return f"share{min(4, int(block.removed * 5 + 1e-9)) if block.removed else 'none'}"
    return str(block.fate)


@dataclass(frozen=True)
class _Stop:
    """The middle of a block's mark."""

    x: float
    y: float


def _lanes(blocks: Sequence[Block]) -> list[int]:
    """For each block its track: that of a value it is the last to read, else the first free one."""
    last = list(range(len(blocks)))
    for row, block in enumerate(blocks):
        for source in block.reads:
            last[source] = row
    busy: dict[int, int] = {}  # track → the row that frees it
    lanes: list[int] = []
    for row, block in enumerate(blocks):
        ends = sorted(lanes[source] for source in block.reads if last[source] == row)
        free = {lane for lane in busy if busy[lane] <= row}
        taken = set(busy) - free
        lane = ends[0] if ends else next(n for n in range(len(taken) + 1) if n not in taken)
        lanes.append(lane)
        busy[lane] = last[row]
    return lanes


def _track(start: _Stop, end: _Stop) -> Markup:
    """Down its own track, and over to the reader's in the last half row."""
    if start.x == end.x:
        return line(start.x, start.y, end.x, end.y, "track")
    turn = end.y - ROW
    bend = f"C{start.x:g},{end.y - 4:g} {end.x:g},{turn + 4:g} {end.x:g},{end.y:g}"
    return tag("path", d=f"M{start.x:g},{start.y:g} V{turn:g} {bend}", class_="track")


def _row(block: Block, stop: _Stop, x: float, widest: int) -> Markup:
    tip = ": ".join(filter(None, (block.name, _told(block), block.note)))
    base = stop.y + 4
    parts = [
        _mark(block, stop, tip),
        text(x, base, tag("title", tip) + shortened(block.name, NAME - 12)),
        text(x + NAME, base, _fitting(block.ops, OPS - 14), kind="number"),
    ]
    x += NAME + OPS
    if block.before is not None and block.after is not None:
        scale = BAR / max(widest, block.after)
        parts.append(rect(x, stop.y - 5, scale * block.before, 10, "before", tip))
        parts.append(rect(x, stop.y - 5, scale * block.after, 10, f"after {share(block)}", tip))
    parts.append(text(x + BAR + 10, base, _told(block)))
    return Markup("").join(parts)


def _mark(block: Block, stop: _Stop, tip: str) -> Markup:
    title = tag("title", tip)
    if block.fate in (Fate.PLAIN, Fate.PORT):
        return tag("circle", title, cx=stop.x, cy=stop.y, r=4.0, class_=f"stop {block.fate}")
    place = {"x": stop.x - STOP / 2, "y": stop.y - STOP / 2, "width": STOP, "height": STOP, "rx": 3}
    made = tag("rect", title, **place, class_="stop ground") + tag(
        "rect", title, **place, class_=f"stop {share(block)}"
    )
    if block.fate is Fate.FIXED:
        made += tag("rect", title, **place, class_="hatched", fill="url(#network-hatch)")
    return made


def _told(block: Block) -> str:
    return " ".join(filter(None, (block.width, block.word)))


def _fitting(told: str, width: float) -> str:
    most = int(width / CHARACTER)
    return told if len(told) <= most else f"{told[: most - 1]}…"


def _hatch() -> Markup:
    stripe = tag("path", d="M-1,1 l2,-2 M0,5 l5,-5 M4,6 l2,-2", class_="stripe")
    return tag("pattern", stripe, id="network-hatch", width=5, height=5, patternUnits="userSpaceOnUse")


def _legend(blocks: Sequence[Block]) -> Markup:
    """The kinds there are, so that no reader has to guess."""
    entries = [(f"share{n}", "less than 20 % gone" if n == 0 else f"{20 * n} % or more") for n in (0, 2, 4)]
    fates = {block.fate for block in blocks}
    names = {
        Fate.WHOLE: ("sharenone", "whole"),
        Fate.BOTTLENECK: ("bottleneck", "bottleneck"),
        Fate.WIDER: ("wider", "wider"),
        Fate.FIXED: ("fixed", "had to stay"),
        Fate.GONE: ("gone", "whole branch removed"),
    }
    entries = entries if Fate.CUT in fates else []
    return legend(PAD, 15, [*entries, *(names[fate] for fate in names if fate in fates)])
