"""What plots are made of: elements, a scale with round ticks, and the frame around a plot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from markupsafe import Markup, escape

#: Pixels of the coordinate system; the picture itself grows and shrinks with the page.
WIDTH = 720.0
#: Average width of a character of the plots' 12-pixel sans-serif font, in pixels.
CHARACTER = 6.6


def tag(name: str, content: object = "", /, **attributes: object) -> Markup:
    """One element; ``content`` and attribute values are escaped unless they are ``Markup``.

    ``class_`` stands for ``class``, other underscores for hyphens.
    """
    told = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), told, escape(content))


def text(x: float, y: float, content: object, *, anchor: str = "start", kind: str = "") -> Markup:
    """A line of text; ``anchor`` is start, middle or end."""
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=f"label {kind}".strip())


def rect(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> Markup:
    """A bar of a ``kind`` (a class of the style), with a tip to hover."""
    inner = tag("title", tip) if tip else ""
    return tag("rect", inner, x=x, y=y, width=max(width, 0.0), height=height, rx=2, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def picture(
    height: float, title: str, parts: Iterable[Markup], *, width: float = WIDTH, kind: str = ""
) -> Markup:
    """The ``<svg>`` of a plot that shows what ``title`` says; one of a ``kind`` keeps its natural size."""
    natural = {"width": width, "height": height} if kind else {}
    return tag(
        "svg",
        tag("title", title) + Markup("").join(parts),
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        role="img",
        aria_label=title,
        class_=f"plot {kind}".strip(),
        **natural,
        xmlns="http://www.w3.org/2000/svg",
    )


def shortened(name: str, width: float) -> str:
    """A name that fits ``width`` pixels; its end tells layers apart, so its middle goes."""
    most = max(int(width / CHARACTER), 5)
    if len(name) <= most:
        return name
    head = (most - 1) // 3
    return f"{name[:head]}…{name[len(name) - (most - 1 - head) :]}"


@dataclass(frozen=True)
class Scale:
    """A straight map from values ``low``..``high`` to pixels ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies, in pixels."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale, some ``about`` of them."""
        span = self.high - self.low
        if not span > 0 or not isfinite(span):
            return [self.low]
        rough = span / about
        size = 10.0 ** floor(log10(rough))
        step = next(size * n for n in (1, 2, 5, 10) if size * n >= rough)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(n * step, 12) for n in range(first, last + 1)]


def scale_over(values: Iterable[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """A scale over the finite ones of ``values``, with a little room; ``zero`` makes it begin there."""
    finite = [v for v in values if isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(0.0 if zero else low - room, high + room, start, end)


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> Markup:
    """Pairs of (kind, name) in a row: a swatch and what it stands for."""
    parts = []
    for kind, name in entries:
        parts += [rect(x, y - 9, 12, 10, kind), text(x + 17, y, name)]
        x += 17 + CHARACTER * len(name) + 18
    return Markup("").join(parts)


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
