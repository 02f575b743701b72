"""Recipes by name: ``/v1/recipes``."""

from __future__ import annotations

from fastapi import APIRouter

from service.errors import NotFound
from service.schemas import RecipeList, RecipeView
from sosp_core.presets import PRESETS

router = APIRouter(prefix="/v1/recipes", tags=["recipes"])


@router.get("")
def page() -> RecipeList:
    """List the recipes that have names, and when to take which."""
    return RecipeList(items=[RecipeView.of(preset) for preset in PRESETS.values()])


@router.get("/{name}")
def get(name: str) -> RecipeView:
    """Show one recipe, every default spelled out."""
    if name not in PRESETS:
        raise NotFound(kind="recipe", id=name)
    return RecipeView.of(PRESETS[name])
