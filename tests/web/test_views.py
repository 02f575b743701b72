"""Words and pictures of the pages, against what they are about."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import recipes
from service.web import choices, words
from service.web.views.charts import bars, plane, spans, ticks
from service.web.views.results import Result
from sosp_core.errors import RecipeInvalid
from tests.web.stage import KINDS, report


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 0 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations_are_told_in_the_largest_unit(value: float, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (None, "keep 50 % of compute"),
        ({"metric": "size", "keep": 0.35}, "keep 35 % of weight bytes"),
        ({"metric": "params", "at_most": 1200000}, "at most 1,200,000 of parameters"),
        ({"metric": "macs", "keep": None, "max_drop": 0.01}, "lose at most 1 point"),
        ({"metric": "latency", "at_most": 4.5}, "at most 4.5 ms"),
    ],
)
def test_budgets_are_told_in_words(budget: Any, text: str) -> None:
    assert words.budget({"prune": {"budget": budget}}) == text


def test_every_choice_makes_a_recipe_of_this_server() -> None:
    for budget in (*(choice.id for choice in choices.budgets()), choices.OWN, ""):
        for effort in (*(choice.id for choice in choices.EFFORTS), ""):
            made = choices.compose({"seed": 4}, budget=budget, effort=effort, metric="size", percent="40")
            assert recipes.parse(made).seed == 4


def test_a_choice_this_server_does_not_know_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = choices.Choice(id="s", title="", hint="", part={"metric": "beauty", "keep": 0.5})
    monkeypatch.setattr(choices, "BUDGETS", (choices.BUDGETS[0], strange))
    choices.budgets.cache_clear()
    assert [choice.id for choice in choices.budgets()] == ["half"]
    choices.budgets.cache_clear()


def test_answers_replace_what_they_are_about_and_nothing_else() -> None:
    base = {"prune": {"rounds": 16, "method": "obd"}, "finetune": {"epochs": 60.0, "lr": 0.1}, "seed": 2}
    made = choices.compose(base, budget="half", effort="balanced", metric="", percent="")
    half = {"metric": "macs", "keep": 0.5}
    assert made == {"prune": {"method": "obd", "budget": half}, "finetune": {"lr": 0.1}, "seed": 2}
    strange = choices.compose(
        {"prune": 3, "finetune": None}, budget="half", effort="quick", metric="", percent=""
    )
    recipes.parse(strange)


def test_answers_replace_what_comes_of_a_base() -> None:
    known = choices.read('{"base": "quick", "seed": 4}')
    made = choices.compose(known, budget="safe", effort="balanced", metric="", percent="")
    assert {"rounds", "samples"} <= known["prune"].keys()
    assert made["prune"] == {"samples": known["prune"]["samples"], "budget": {"max_drop": 0.01}}
    assert (made["seed"], "epochs" in made.get("finetune", {})) == (4, False)
    assert choices.check(choices.write(choices.read('{"base": "quik"}'))).field == "base"


@pytest.mark.parametrize("percent", ["", "x", "0", "100", "-5", "nan", "inf", "1e999"])
def test_a_share_that_is_none_is_refused_by_the_recipe(percent: str) -> None:
    made = choices.compose({}, budget=choices.OWN, effort="", metric="macs", percent=percent)
    with pytest.raises(RecipeInvalid):
        recipes.parse(made)


def test_a_recipe_loses_only_what_the_defaults_say() -> None:
    told = {"seed": 9, "prune": {"protect": ["head"], "budget": {"keep": 0.3}}}
    full = recipes.dump(recipes.parse(told))
    assert choices.shortened(full) == told
    assert choices.shortened(recipes.dump(recipes.parse({}))) == {}


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_within(low: float, width: float) -> None:
    high = low + width
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    found = ticks(low, high)
    step = found[1] - found[0] if len(found) > 1 else width
    assert 2 <= len(found) <= 7
    assert all(low - step * 1e-6 <= tick <= high + step * 1e-6 for tick in found)


def test_a_plane_holds_its_points_and_keeps_their_order() -> None:
    points = [("A", 1.2, 0.97, ""), ("B", 1.2001, 0.9701, ""), ("C", 2.5, 0.91, "")]
    made = plane(points, x_unit="x", y_percent=True)
    assert all(made.left <= dot.x <= made.width and 0 <= dot.y <= made.height for dot in made.dots)
    a, b, c = made.dots
    assert a.x < b.x < c.x
    assert b.y < a.y < c.y  # up is more
    assert abs(a.label_y - b.label_y) > 10  # labels of neighbours do not lie on each other
    assert all(tick.text.endswith("%") for tick in made.ys)


def test_bars_and_spans_are_on_one_scale() -> None:
    long, short = bars([("a", 64, 32), ("b", 16, 16)])
    assert (long.scale, long.kept, short.scale, short.kept) == (100, 50, 25, 25)
    assert (long.note, short.note) == ("32 of 64 stay", "kept whole")
    wide, narrow = bars([("a", 64, 96), ("b", 48, 48)], {"a"})
    assert (wide.kept, wide.note, wide.tag) == (100, "widened from 64 to 96", "bottleneck")
    assert (narrow.scale, narrow.tag) == (50, "whole")
    before, after = spans([("before", 0.002, 0.004), ("after", 0.001, 0.003)])
    assert (before.median, before.p95, after.median, after.p95) == (50, 100, 25, 75)


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_of_a_real_job_is_read_whole(kind: str) -> None:
    told = report(kind)
    result = Result.of(told)
    assert [bar.after for bar in result.widths] == [layer["after"] for layer in told["layers"]]
    assert len(result.latency) == len(told["latency"])
    assert result.curve is not None
    left = 100 * told["after"]["macs"] / told["before"]["macs"]
    assert result.headline[0][1] == f"{left:.0f} % left"
    assert json.dumps(told["summary"]) == json.dumps([list(row) for row in result.rows])


def test_a_sweep_is_drawn_with_each_size_it_tried() -> None:
    told = report("half")
    side = told["after"] | {"latency": told["latency"]}
    told["sweep"] = [{**side, "model": "a.onnx", "keep": 0.5}, {**side, "model": "b.onnx", "keep": 0.25}]
    sweep = Result.of(told).sweep
    assert sweep is not None
    assert [dot.label for dot in sweep.dots] == ["50 %", "25 %"]
    assert Result.of(report("half")).sweep is None
