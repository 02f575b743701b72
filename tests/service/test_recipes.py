from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import recipes
from sosp_core.config import BenchmarkConfig, Metric, Recipe
from sosp_core.errors import RecipeInvalid
from sosp_core.presets import PRESETS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_nothing_is_a_recipe_and_defaults_survive_the_round_trip() -> None:
    assert recipes.parse("{}") == Recipe()
    assert recipes.parse(recipes.dump(Recipe())) == Recipe()


def test_enumerations_and_tuples_come_as_json_has_them() -> None:
    recipe = recipes.parse('{"prune": {"budget": {"metric": "params"}, "protect": ["/head/*"]}}')
    assert recipe.prune.budget.metric is Metric.PARAMS
    assert recipe.prune.protect == ("/head/*",)


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ('{"prune": {"budget": {"keep": 1.5}}}', "prune.budget.keep", "between 0 and 1"),
        ('{"prune": {"budget": {"keep": "0.5"}}}', "prune.budget.keep", "valid number"),
        ('{"prune": {"bugdet": {}}}', "prune.bugdet", "did you mean 'budget'"),
        ('{"zzz": 1}', "zzz", "known: mode, objective, prune"),
        ('{"mode": "expand"}', "mode", "known: prune"),
        ('{"prune": {"method": "l1"}}', "prune.method", "magnitude-l1, random"),
        ('{"prune": {"method": "sosp"}}', "prune.method", "did you mean 'sosp-"),
        ('{"bsae": "quick"}', "bsae", "did you mean 'base'"),
        ('{"prune": {"budget": {"keep": 0.5, "at_most": 3}}}', "prune.budget", "not both"),
        ('{"finetune": {"steps": true}}', "finetune.steps", "integer"),
        ('{"finetune": {"lr": NaN}}', "finetune.lr", "finite"),
        ('{"finetune": {"lr": 1e999}}', "finetune.lr", "finite"),
        ('{"benchmark": {"threads": [1, "a"]}}', "benchmark.threads.1", "integer"),
        ('{"seed": -1}', "seed", "2^32"),
        (f'{{"prune": {{"samples": {10**30}}}}}', "prune.samples", "2^53"),
        ('{"prune": null}', "prune", "object"),
        ('{"prune": {"protect": ["\\ud800"]}}', "(recipe)", "Invalid JSON"),
        ("[]", "(recipe)", "object"),
        ("", "(recipe)", "Invalid JSON"),
        ("[" * 100_000, "(recipe)", "recursion limit"),
    ],
)
def test_a_wrong_recipe_names_the_field_and_what_is_allowed(text: str, field: str, reason: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        recipes.parse(text)
    assert caught.value.field == field
    assert reason in caught.value.reason


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_stands_for_its_recipe_and_can_be_built_upon(name: str) -> None:
    recipe = PRESETS[name].recipe
    assert recipes.build(name) == recipe
    changed = recipes.build({"base": name, "seed": 5, "prune": {"budget": {"keep": 0.9}}})
    assert changed.seed == 5
    assert changed.prune == replace(recipe.prune, budget=replace(recipe.prune.budget, keep=0.9))
    assert changed.finetune == recipe.finetune


def test_an_amount_replaces_the_share_of_the_base() -> None:
    budget = recipes.build({"base": "transformer", "prune": {"budget": {"at_most": 1000}}}).prune.budget
    assert (budget.keep, budget.at_most) == (None, 1000)


def test_a_change_need_only_be_right_together_with_its_base() -> None:
    quick = PRESETS["quick"].recipe.benchmark
    assert quick.min_time_s < 0.5 < BenchmarkConfig().min_time_s
    assert recipes.build({"base": "quick", "benchmark": {"max_time_s": 0.5}}).benchmark.max_time_s == 0.5
    with pytest.raises(RecipeInvalid, match="min_time_s"):
        recipes.build({"base": "balanced", "benchmark": {"max_time_s": 0.5}})


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ("qick", "base", "did you mean 'quick'"),
        ({"base": "zzz"}, "base", "known: quick, balanced"),
        ({"base": 3}, "base", "no recipe 3"),
        ({"base": "quick", "prune": {"roundz": 1}}, "prune.roundz", "did you mean 'rounds'"),
        ({"base": "quick", "prune": None}, "prune", "object"),
    ],
)
def test_a_name_that_is_none_or_a_wrong_change_is_explained(given: Any, field: str, reason: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        recipes.build(given)
    assert caught.value.field == field
    assert reason in caught.value.reason


@given(value=st.dictionaries(st.sampled_from([*Recipe.__dataclass_fields__, "other"]), JSON))
def test_any_object_is_a_recipe_or_an_explained_error(value: dict[str, Any]) -> None:
    with suppress(RecipeInvalid):
        recipe = recipes.parse(value)
        assert recipes.parse(recipes.dump(recipe)) == recipe


def test_overrides_reach_any_depth_and_leave_the_original_alone() -> None:
    base: dict[str, Any] = {"prune": {"rounds": 2}}
    changed = recipes.apply_overrides(
        base, ["prune.rounds=3", "prune.method=random", "finetune.steps=0", "prune.budget.keep=0.25"]
    )
    assert base == {"prune": {"rounds": 2}}
    assert changed == {
        "prune": {"rounds": 3, "method": "random", "budget": {"keep": 0.25}},
        "finetune": {"steps": 0},
    }


@pytest.mark.parametrize("own", [{"at_most": 3}, {"max_drop": 0.1}, {"keep": 0.9}], ids=str)
@pytest.mark.parametrize("setting", ["keep=0.5", "at_most=7", "max_drop=0.2"])
def test_a_setting_takes_the_place_of_another_way_to_say_how_much(own: dict[str, Any], setting: str) -> None:
    told = {"prune": {"budget": {"metric": "params", **own}}}
    budget = recipes.build(recipes.apply_overrides(told, [f"prune.budget.{setting}"])).prune.budget
    name, _, value = setting.partition("=")
    assert (budget.metric, getattr(budget, name)) == (Metric.PARAMS, float(value))


def test_two_settings_that_contradict_each_other_are_refused() -> None:
    both = ["prune.budget.keep=0.5", "prune.budget.max_drop=0.2"]
    with pytest.raises(RecipeInvalid, match="not both"):
        recipes.build(recipes.apply_overrides({}, both))


def test_a_text_may_name_a_base_and_is_explained_where_it_is_wrong() -> None:
    given = {"base": "quick", "seed": 3}
    assert recipes.read(json.dumps(given)) == recipes.build(given)
    for text in ("{", "[" * 100_000, "[1]", "3", '{"base": "quik"}', '{"seed": NaN}'):
        with pytest.raises(RecipeInvalid):
            recipes.read(text)


@pytest.mark.parametrize("setting", ["rounds", "=3", "seed.x=1"])
def test_a_setting_that_cannot_be_applied_is_refused(setting: str) -> None:
    with pytest.raises(RecipeInvalid):
        recipes.apply_overrides({"seed": 1}, [setting])


@pytest.mark.parametrize("content", ["not json", "[1]", "[" * 100_000])
def test_a_file_that_holds_no_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(RecipeInvalid, match=r"recipe\.json"):
        recipes.read_object(path)


def test_the_schema_lists_every_field() -> None:
    assert set(recipes.schema()["properties"]) == set(recipes.dump(Recipe()))
    json.dumps(recipes.schema())
