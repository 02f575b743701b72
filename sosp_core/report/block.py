"""One row of the drawing of a network: a layer or a joint, and what became of its width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class Fate(StrEnum):
    """What became of a block's width; of several that hold, the first."""

    PORT = "port"
    """It has none to lose: an input or an output of the network."""
    BOTTLENECK = "bottleneck"
    """A pruning of the whole network hardly touched it: found by the modes that widen."""
    FIXED = "fixed"
    """It could not be changed; the note says why."""
    WIDER = "wider"
    CUT = "cut"
    GONE = "gone"
    """Nothing is left of it: its whole branch was removed."""
    WHOLE = "whole"
    """It could have lost channels, and lost none."""
    PLAIN = "plain"
    """It has no weights that make a width of its own: an Add, a Concat, a pooling of several inputs."""


#: What is said beside a width, so that no colour has to.
WORDS = {
    Fate.BOTTLENECK: "◆ bottleneck",
    Fate.FIXED: "▨ stays",
    Fate.WIDER: "▲ wider",
    Fate.WHOLE: "□ whole",
    Fate.GONE: "✕ whole branch removed",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A node, with the nodes after it that read nothing else.

    Attributes:
        name: Of the node that begins it.
        op: Its operator; ``Input`` or ``Output`` for ports.
        also: Operators folded into it, each once, in the order of the graph.
        reads: Places of the blocks it reads, in the list it stands in; all smaller than its own.
        before: Channels or units it made; None where that is not its own to say.
        after: What is left of them.
        note: Why it is as it is, if there is something to say.
    """

    name: str
    op: str
    also: tuple[str, ...] = ()
    reads: tuple[int, ...] = ()
    before: int | None = None
    after: int | None = None
    fate: Fate = Fate.PLAIN
    note: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The block that ``asdict`` told, by way of JSON."""
        return cls(
            **{
                **told,
                "also": tuple(told["also"]),
                "reads": tuple(told["reads"]),
                "fate": Fate(told["fate"]),
            }
        )

    @property
    def removed(self) -> float:
        """The share of its width that is gone, 0 to 1; 0 where it grew or has none."""
        if not self.before or self.after is None:
            return 0.0
        return max(0.0, 1 - self.after / self.before)

    @property
    def ops(self) -> str:
        """All its operators, for people."""
        return " · ".join((self.op, *self.also))

    @property
    def word(self) -> str:
        """Its fate in a sign and a word; empty where the width says it."""
        return WORDS.get(self.fate, "")

    @property
    def said(self) -> str:
        """Its fate and the reason."""
        return ": ".join(filter(None, (self.word, self.note)))

    @property
    def width(self) -> str:
        """``64 → 32``; empty where it has none of its own."""
        return "" if self.before is None else f"{self.before} → {self.after}"
