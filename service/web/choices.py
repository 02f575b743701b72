"""Budgets and efforts in plain words, and the recipes they make.

A choice is shown only if this server's recipes know its fields: each is parsed before it is offered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from service import recipes
from service.web.words import METRICS
from sosp_core.config import Metric, Recipe
from sosp_core.errors import RecipeInvalid
from sosp_core.presets import BALANCED, MAX_ACCURACY, QUICK, Preset

OWN = "own"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer to a question, and the part of a recipe it stands for."""

    id: str
    title: str
    hint: str
    part: Mapping[str, Any]


BUDGETS = (
    Choice(
        id="half",
        title="Half the compute",
        hint="Keeps 50 % of the multiply-accumulates. A good first try.",
        part={"metric": "macs", "keep": 0.5},
    ),
    Choice(
        id="quarter",
        title="A quarter of the compute",
        hint="For tight devices. Give it labels or many samples.",
        part={"metric": "macs", "keep": 0.25},
    ),
    Choice(
        id="careful",
        title="A careful trim",
        hint="Keeps 75 % of the compute and nearly all of the accuracy.",
        part={"metric": "macs", "keep": 0.75},
    ),
    Choice(
        id="small",
        title="A file half the size",
        hint="Counts the bytes of the weights, wherever they are.",
        part={"metric": "size", "keep": 0.5},
    ),
    Choice(
        id="fast",
        title="Twice as fast",
        hint="Widths are chosen by latency measured in ONNX Runtime.",
        part={"metric": "latency", "keep": 0.5},
    ),
    Choice(
        id="safe",
        title="At most 1 point worse",
        hint="As small as it can be within that loss.",
        part={"max_drop": 0.01},
    ),
)
#: What an effort sets, of the recipe of that name.
EFFORT = {"prune": ("rounds",), "finetune": ("epochs",)}


def _effort(id: str, title: str, hint: str, preset: Preset) -> Choice:
    """As much work as a named recipe does, whatever else that recipe is about."""
    own, default = recipes.dump(preset.recipe), recipes.dump(Recipe())
    part: dict[str, dict[str, Any]] = {}
    for section, names in EFFORT.items():
        told = {n: own[section][n] for n in names if own[section][n] != default[section][n]}
        part |= {section: told} if told else {}
    return Choice(id=id, title=title, hint=hint, part=part)


EFFORTS = (
    _effort("quick", "Quick look", "A few passes: shows the way.", QUICK),
    _effort("balanced", "Balanced", "The defaults.", BALANCED),
    _effort("thorough", "Thorough", "More rounds, longer training.", MAX_ACCURACY),
)


@cache
def budgets() -> tuple[Choice, ...]:
    """The budgets this server can meet."""
    return tuple(choice for choice in BUDGETS if _known(choice))


def metrics() -> list[tuple[str, str]]:
    """What a budget of one's own may count, by name and in words."""
    return [(str(metric), METRICS.get(metric, str(metric))) for metric in Metric]


def _known(choice: Choice) -> bool:
    try:
        recipes.parse({"prune": {"budget": dict(choice.part)}})
    except RecipeInvalid:
        return False
    return True


def compose(
    base: Mapping[str, Any], *, budget: str, effort: str, metric: str, percent: str
) -> dict[str, Any]:
    """``base`` with the answers of a form in place of what they are about; unknown answers change nothing."""
    made: dict[str, Any] = json.loads(json.dumps(base))
    if budget == OWN:
        _section(made, "prune")["budget"] = {"metric": metric, "keep": _share(percent)}
    for choice in budgets():
        if choice.id == budget:
            _section(made, "prune")["budget"] = dict(choice.part)
    for choice in EFFORTS:
        if choice.id == effort:
            _set_effort(made, choice)
    return made


def _set_effort(made: dict[str, Any], chosen: Choice) -> None:
    for effort in EFFORTS:  # what another effort set is not what this one means
        for section, fields in effort.part.items():
            for name in fields:
                _section(made, section).pop(name, None)
    for section, fields in chosen.part.items():
        _section(made, section).update(fields)
    for section in [name for name, value in made.items() if value == {}]:
        del made[section]


def _section(made: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(made.get(name), dict):
        made[name] = {}
    found: dict[str, Any] = made[name]
    return found


def _share(percent: str) -> float | str:
    """A share, or what was typed if that is no number: the recipe's own check names what is wrong."""
    try:
        return float(percent) / 100
    except ValueError:
        return percent


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A recipe as text, and what is wrong with it, if anything is."""

    text: str
    field: str = ""
    reason: str = ""

    @property
    def valid(self) -> bool:
        """Whether a job can be made of it."""
        return not self.reason

    @property
    def lines(self) -> int:
        """How tall a field to show it in should be."""
        return min(max(self.text.count("\n") + 2, 8), 30)


def check(text: str) -> Draft:
    """The draft of what somebody typed."""
    try:
        recipes.read(text or "{}")
    except RecipeInvalid as error:
        return Draft(text=text, field=error.field, reason=error.reason)
    return Draft(text=text)


def read(text: str) -> dict[str, Any]:
    """The JSON object in ``text``, its ``base`` spelled out; empty if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(value, dict) and "base" in value:
        with suppress(RecipeInvalid):  # the check of what comes of it says why
            return shortened(recipes.dump(recipes.build(value)))
    return value if isinstance(value, dict) else {}


def write(recipe: Mapping[str, Any]) -> str:
    """A recipe for people to edit."""
    return json.dumps(recipe, indent=2, ensure_ascii=False)


def shortened(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` without what the defaults say anyway."""
    return _differences(recipe, recipes.dump(recipes.parse({})))


def _differences(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    told = {}
    for name, value in given.items():
        known = default.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            value, known = _differences(value, known), {}
        if value != known:
            told[name] = value
    return told
