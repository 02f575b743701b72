"""Recipes by name on the page of budgets: what each sets, and the answers in words that it amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from service import recipes
from service.web import choices
from sosp_core.presets import BALANCED, PRESETS, Preset

#: What a new job begins with: what sosp does when told nothing.
FIRST = BALANCED.name


@dataclass(frozen=True, kw_only=True)
class Named:
    """A recipe with a name.

    Attributes:
        recipe: What it says beyond the defaults, its budget in full.
        answers: What a form says that means the same, as far as words go: budget, percent, metric, effort.
    """

    name: str
    gives: str
    when: str
    recipe: Mapping[str, Any]
    answers: Mapping[str, str]

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """The recipe of ``sosp recipes NAME``."""
        own = recipes.dump(preset.recipe)
        given = {k: v for k, v in own["prune"]["budget"].items() if v is not None}
        budget = {"metric": "macs", "keep": 0.5} | given
        told = choices.shortened(own)
        told["prune"] = {"budget": budget} | {k: v for k, v in told.get("prune", {}).items() if k != "budget"}
        return cls(
            name=preset.name,
            gives=preset.gives,
            when=preset.when,
            recipe=told,
            answers=_budget(budget) | {"effort": _effort(told)},
        )


@cache
def all_named() -> tuple[Named, ...]:
    """Every recipe with a name, in the order of ``sosp recipes``."""
    return tuple(Named.of(preset) for preset in PRESETS.values())


def find(name: str) -> Named | None:
    """The recipe of that name, if there is one."""
    return next((named for named in all_named() if named.name == name), None)


def _budget(budget: Mapping[str, Any]) -> dict[str, str]:
    share = f"{100 * budget.get('keep', 0.5):g}"
    told = {"percent": share, "metric": str(budget["metric"])}
    known = (choice.id for choice in choices.budgets() if choice.part == budget)
    return told | {"budget": next(known, choices.OWN)}


def _effort(recipe: Mapping[str, Any]) -> str:
    """The effort with the same rounds and epochs; none if the recipe is about other things, too."""
    for choice in choices.EFFORTS:
        if all(
            recipe.get(section, {}).get(field) == choice.part.get(section, {}).get(field)
            for section, fields in choices.EFFORT.items()
            for field in fields
        ):
            return choice.id
    return ""
