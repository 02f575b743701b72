"""``sosp recipes``: recipes by name, and when to take which."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import Json, print_json, print_table


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that have names, or show one."""
    from service import recipes as known
    from service.schemas import RecipeView
    from sosp_core.presets import PRESETS

    if name is not None:
        view = RecipeView.of(known.named(name))
        if as_json:
            print_json(view.model_dump(mode="json"))
            return
        typer.echo(f"{view.name}: {view.gives}\n\n{view.when}\n")
        print_json(view.recipe)
        return
    views = [RecipeView.of(preset) for preset in PRESETS.values()]
    if as_json:
        print_json({"items": [view.model_dump(mode="json") for view in views]})
        return
    print_table(
        ("recipe", "gives", "when"), [(view.name, view.gives, view.when) for view in views], prose=True
    )
