"""Recipes by name over HTTP and on the command line, and the published schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service import recipes
from service.cli.main import run
from service.client import ApiError
from service.schemas import JobView
from sosp_core.presets import PRESETS
from sosp_core.report.schema import report_schema
from tests.live import Bench, Stack


def test_the_list_of_recipes_says_when_to_take_which_and_holds_what_a_job_takes(api: Stack) -> None:
    items = api.get("/v1/recipes").json()["items"]
    assert [item["name"] for item in items] == list(PRESETS)
    for item in items:
        assert item["when"]
        assert item["gives"]
        assert recipes.parse(item["recipe"]) == PRESETS[item["name"]].recipe
        assert api.get(f"/v1/recipes/{item['name']}").json() == item
    assert api.get("/v1/recipes/none").json()["code"] == "not_found"


def test_schemas_are_served(api: Stack) -> None:
    answer = api.get("/v1/schemas/report")
    assert answer.json() == report_schema()
    assert answer.headers["Content-Type"] == "application/schema+json"
    assert api.get("/v1/schemas/recipe").json() == recipes.schema()


@pytest.mark.parametrize("given", ["quick", {"base": "quick", "seed": 3}])
def test_a_job_takes_a_recipe_by_name_and_keeps_it_spelled_out(bench: Bench, given: str | dict) -> None:
    order = {"model_id": bench.model().id, "dataset_id": bench.data().id, "recipe": given}
    answer = bench.stack.http.post("/v1/jobs", json=order)
    assert answer.status_code == 202
    assert recipes.parse(JobView.model_validate(answer.json()).recipe) == recipes.build(given)


def test_a_name_that_is_none_is_refused_with_those_there_are(bench: Bench) -> None:
    with pytest.raises(ApiError) as caught:
        bench.submit(recipe={"base": "ballanced"})
    assert caught.value.code == "recipe_invalid"
    assert "did you mean 'balanced'" in caught.value.detail


def test_recipes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in PRESETS)
    assert run(["recipes", "quick", "--json"]) == 0
    assert recipes.parse(json.loads(capsys.readouterr().out)["recipe"]) == PRESETS["quick"].recipe
    assert run(["recipes", "qick"]) == 2
    assert "did you mean 'quick'" in capsys.readouterr().err


def test_a_file_wins_over_nothing_and_a_name_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").write_text('{"seed": 9}')
    Path("mine").write_text('{"base": "quick", "seed": 9}')
    assert recipes.build(recipes.look_up("quick")) == PRESETS["quick"].recipe
    assert recipes.build(recipes.look_up("mine")).seed == 9
    assert recipes.look_up(None) == {}
    with pytest.raises(recipes.RecipeInvalid, match="there is no file"):
        recipes.look_up("not/there.json")
