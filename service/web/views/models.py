"""What a model is, on one card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, Self

from service.schemas import InspectionView, UploadView
from service.web.views.charts import Bar, bars
from service.web.words import plural
from sosp_core import units

MOST_GROUPS = 10
MOST_OPERATORS = 12
Verdict = Literal["ready", "blocked", "unknown"]
Fate = Literal["followed", "kept", "unsupported"]


@dataclass(frozen=True)
class Port:
    """A named input or output and its type and shape."""

    name: str
    shape: str

    @classmethod
    def of(cls, text: str) -> Self:
        """``x: float32[n, 3, 8, 8]`` in two parts."""
        name, _, shape = text.rpartition(": ")
        return cls(name, shape)


@dataclass(frozen=True)
class Blocker:
    """Why a job would fail: the code of its error, and what it says."""

    code: str
    reason: str

    @classmethod
    def of(cls, text: str) -> Self:
        """``code: reason`` in two parts."""
        code, _, reason = text.partition(": ")
        return cls(code.replace("_", " "), reason)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """How many nodes of an operator there are, and what becomes of them."""

    name: str
    nodes: int
    state: Fate


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """An inspected model.

    Attributes:
        facts: Name and value of what can be said in a few characters.
        groups: The groups that have most to remove, as bars of their size.
        more_groups: How many there are beside those.
        kept: What stays: a reason and how often it holds.
    """

    verdict: Verdict
    headline: str
    facts: list[tuple[str, str]]
    inputs: list[Port]
    outputs: list[Port]
    operators: list[Operator]
    more_operators: int
    groups: list[Bar]
    more_groups: int
    blockers: list[Blocker]
    kept: list[str]
    notes: list[str]

    @classmethod
    def of(cls, upload: UploadView, view: InspectionView) -> ModelCard | None:
        """The card of a model; None while nobody has looked."""
        found = view.inspection
        if found is None:
            return None if view.error is None else _unreadable(upload, view.error.title, view.error.detail)
        groups = sorted(found["groups"], key=lambda group: -group["structures"])
        shown = bars((g["name"], g["structures"], g["structures"]) for g in groups[:MOST_GROUPS])
        operators = _operators(found["support"])
        return cls(
            verdict=_verdict(found),
            headline=_headline(found),
            facts=_facts(upload, found),
            inputs=[Port.of(text) for text in found["inputs"]],
            outputs=[Port.of(text) for text in found["outputs"]],
            operators=operators[:MOST_OPERATORS],
            more_operators=max(0, len(operators) - MOST_OPERATORS),
            groups=shown,
            more_groups=len(groups) - len(shown),
            blockers=[Blocker.of(text) for text in found["blockers"]],
            kept=list(dict.fromkeys(found["refusals"])),
            notes=found["notes"],
        )


def _unreadable(upload: UploadView, title: str, detail: str) -> ModelCard:
    return ModelCard(
        verdict="blocked",
        headline="This file cannot be read as a model",
        facts=[("File", units.size(upload.size))],
        inputs=[],
        outputs=[],
        operators=[],
        more_operators=0,
        groups=[],
        more_groups=0,
        blockers=[Blocker(title, detail)],
        kept=[],
        notes=[],
    )


def _verdict(found: dict[str, Any]) -> Verdict:
    if found["blockers"]:
        return "blocked"
    return "ready" if found["groups"] else "unknown"


def _headline(found: dict[str, Any]) -> str:
    removable = sum(group["structures"] for group in found["groups"])
    match _verdict(found):
        case "blocked":
            return f"A job would stop: {plural(len(found['blockers']), 'reason')}"
        case "ready":
            where = plural(len(found["groups"]), "group")
            return f"Ready: {removable:,} channels or units in {where} could be removed"
    return "It can be read; what could be removed is not known yet"


def _facts(upload: UploadView, found: dict[str, Any]) -> list[tuple[str, str]]:
    macs = found["costs"].get("macs")
    facts = [
        ("Parameters", units.count(found["parameters"])),
        ("MACs per sample", units.count(macs) if macs is not None else "unknown"),
        ("File", units.size(upload.size)),
        ("Opset", str(found["opset"])),
        ("Nodes", f"{sum(found['operators'].values()):,}"),
    ]
    return facts + ([("Written by", found["exporter"])] if found["exporter"] else [])


def _operators(support: list[dict[str, Any]]) -> list[Operator]:
    nodes: Counter[tuple[str, Fate]] = Counter()
    for entry in support:
        nodes[entry["op_type"], _state(entry)] += entry["nodes"]
    return [Operator(name=name, nodes=count, state=state) for (name, state), count in nodes.most_common()]


def _state(entry: dict[str, Any]) -> Fate:
    if entry["converter"] == "none":
        return "unsupported"
    return "followed" if entry["channels"] == "followed" else "kept"
