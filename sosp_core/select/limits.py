"""What a recipe says about single layers, as bounds of groups; and what it was found to mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from math import ceil, floor
from typing import Any

import numpy as np
import onnx_ir as ir

from sosp_core.config import LayerLimits, PruneConfig
from sosp_core.errors import RecipeInvalid
from sosp_core.ir.view import matches
from sosp_core.select.rules import Bounds
from sosp_core.structures.structures import STAYS, Group, LayerWidth, Structures


@dataclass(frozen=True, kw_only=True)
class Meant:
    """A pattern of the recipe and the nodes it was found to mean.

    Attributes:
        limits: None for a pattern of ``protect``.
    """

    pattern: str
    limits: LayerLimits | None
    nodes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The entry in the report."""
        given = asdict(self.limits) if self.limits else {}
        limits = {k: v for k, v in given.items() if v is not None} or "protected"
        return {"pattern": self.pattern, "limits": limits, "nodes": list(self.nodes)}


def protected(model: ir.Model, patterns: Sequence[str]) -> tuple[Meant, ...]:
    """What the patterns of ``protect`` mean.

    Raises:
        RecipeInvalid: One matches nothing.
    """
    return tuple(Meant(pattern=p, limits=None, nodes=_named(model, p, "prune.protect")) for p in patterns)


def limited(
    model: ir.Model, structures: Structures, prune: PruneConfig
) -> tuple[Mapping[int, Bounds], tuple[Meant, ...]]:
    """Bounds by a group's first structure, and which layers each pattern means.

    Where several patterns meet, all of them hold.

    Raises:
        RecipeInvalid: A pattern matches nothing that has a width to choose, or limits contradict
            each other.
    """
    bounds: dict[int, Bounds] = {}
    meant: list[Meant] = []
    for pattern, limits in prune.layers.items():
        names = set(_named(model, pattern, "prune.layers"))
        layers = [w for w in structures.layers if w.node in names and (w.members != STAYS).any()]
        if not layers:
            reason = f"{pattern!r} matches no layer whose width could change"
            raise RecipeInvalid(field="prune.layers", reason=reason)
        meant.append(Meant(pattern=pattern, limits=limits, nodes=tuple(w.node for w in layers)))
        for layer in layers:
            for group in structures.groups:
                if np.isin(group.members, layer.members).any():
                    key = int(group.members[0])
                    bounds[key] = _met(bounds.get(key), _bounds(limits, layer, group), layer.node)
    return bounds, tuple(meant)


def _named(model: ir.Model, pattern: str, field: str) -> tuple[str, ...]:
    found = tuple(node.name or "" for node in model.graph if matches(node, pattern))
    if found:
        return found
    known = {node.name or "" for node in model.graph} | {f"op:{node.op_type}" for node in model.graph}
    close = get_close_matches(pattern, sorted(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise RecipeInvalid(field=field, reason=f"{pattern!r} matches no node of the model{hint}")


def _bounds(limits: LayerLimits, layer: LayerWidth, group: Group) -> Bounds:
    """A layer's limits for one group of it: each group keeps its part of the width."""
    n, width = len(group.members), len(layer.members)

    def part(value: float) -> float:
        return n * value if isinstance(value, float) else n * min(value, width) / width

    if limits.exact is not None:
        fewest = most = max(1, round(part(limits.exact)))
        return Bounds(whole=n, fewest=fewest, most=most)
    return Bounds(
        whole=n,
        fewest=None if limits.min_keep is None else ceil(part(limits.min_keep) - 1e-9),
        most=None if limits.max_keep is None else max(1, floor(part(limits.max_keep) + 1e-9)),
    )


def _met(one: Bounds | None, other: Bounds, node: str) -> Bounds:
    """Both at once."""
    if one is None:
        one = Bounds(whole=other.whole)
    fewest = max((b.fewest for b in (one, other) if b.fewest is not None), default=None)
    most = min((b.most for b in (one, other) if b.most is not None), default=None)
    if fewest is not None and most is not None and fewest > most:
        reason = f"layer {node!r} would have to keep at least {fewest} and at most {most} structures"
        raise RecipeInvalid(field="prune.layers", reason=reason)
    return Bounds(whole=other.whole, fewest=fewest, most=most)
