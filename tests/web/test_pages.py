"""What each page says, and what it refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from service import recipes
from service.web import choices
from service.web.named import all_named
from sosp_core.presets import PRESETS
from tests.live import model_bytes
from tests.web.asking import TestClient
from tests.web.stage import Scene, named


class Reader(HTMLParser):
    """Everything a page would fetch or run, and the token of its forms."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.inline: list[str] = []
        self.token = ""
        self.text = ""
        self._script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self._script = tag in ("script", "style")
        self.fetched += [given[name] or "" for name in ("src", "action") if name in given]
        if tag == "link":
            self.fetched.append(given.get("href") or "")
        if given.get("name") == "csrf":
            self.token = given.get("content") or given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if self._script and data.strip():
            self.inline.append(data)
        self.text += data + " "


def read(web: TestClient, path: str, status: int = 200) -> Reader:
    answer = web.get(path)
    assert answer.status_code == status, answer.text
    return Reader(answer.text)


def words(page: Reader) -> str:
    return " ".join(page.text.split())


def test_no_page_fetches_from_elsewhere_or_runs_what_is_inline(web: TestClient, scene: Scene) -> None:
    scene.inspected()
    done = [scene.done("half"), scene.done("quarter")]
    jobs = [scene.running(), scene.failed(), scene.cancelled(), *done]
    paths = ["/", "/jobs", "/sign-in", "/compare", f"/models/{scene.model}", "/nowhere"]
    paths += [f"/new?model={scene.model}&data={scene.data}", f"/compare?job={done[0]}&job={done[1]}"]
    for path in [*paths, *(f"/jobs/{id}" for id in jobs)]:
        answer = web.get(path)
        page = Reader(answer.text)
        assert page.inline == [], path
        assert all(url.startswith("/") and not url.startswith("//") for url in page.fetched), path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for url in page.fetched:
            if url.startswith("/static/"):
                assert web.get(url).status_code == 200, url


def test_names_from_outside_are_text(web: TestClient, scene: Scene) -> None:
    evil = '<script>alert(1)</script>" onload="x'
    scene.model = named(scene.parts, scene.parts.models, model_bytes(["note", "x"]), "onnx", evil)
    scene.inspected()
    scene.queued()
    for path in ("/", "/jobs", f"/models/{scene.model}", f"/new?model={scene.model}&data={scene.data}"):
        page = read(web, path)
        assert page.inline == []
        assert "alert(1)" in page.text


def test_the_start_offers_what_was_brought_before(web: TestClient, scene: Scene) -> None:
    scene.done("half")
    text = words(read(web, "/"))
    assert "digits.onnx" in text
    assert "digits.npz" in text
    assert "keep 50 % of compute" in text
    assert "No worker is running" not in text
    scene.parts.presence.leave("worker")
    assert "No worker is running" in words(read(web, "/"))


def test_a_model_is_shown_once_a_worker_has_looked(web: TestClient, scene: Scene) -> None:
    pending = web.get(f"/models/{scene.model}/card")
    assert (pending.status_code, web.get(f"/v1/models/{scene.model}/inspection").status_code) == (202, 202)
    assert f'data-card="{scene.model}"' in pending.text
    scene.inspected()
    answer = web.get(f"/models/{scene.model}/card")
    assert answer.status_code == 200
    text = words(Reader(answer.text))
    told = web.get(f"/v1/models/{scene.model}/inspection").json()["inspection"]
    removable = sum(group["structures"] for group in told["groups"])
    assert f"Ready: {removable:,} channels or units" in text
    for port in told["inputs"] + told["outputs"]:
        assert all(part in text for part in port.split(": "))


def test_a_file_that_is_no_model_is_shown_with_its_reason(web: TestClient, scene: Scene) -> None:
    row = scene.parts.models.get(scene.model)
    scene.parts.inspections.ask(row.sha256, row.format)
    request = scene.parts.inspections.take()
    assert request is not None
    error = {"code": "model_invalid", "detail": "graph <g> is empty", "details": {}, "retryable": False}
    scene.parts.inspections.settle(request, {"error": error})
    text = words(read(web, f"/models/{scene.model}"))
    assert "cannot be read as a model" in text
    assert "graph <g> is empty" in text


def test_answers_make_a_recipe_and_what_is_typed_is_checked(web: TestClient, scene: Scene) -> None:
    path = f"/new?model={scene.model}&data={scene.data}"
    token = read(web, path).token
    answers = {"csrf": token, "recipe": '{"seed": 7}', "compose": "1", "budget": "own", "metric": "params"}
    answer = web.post("/recipe", data={**answers, "percent": "30", "effort": "quick"})
    made = json.loads(Reader(answer.text).text.split("Recipe")[1].split("This server")[0])
    assert made["prune"]["budget"] == {"metric": "params", "keep": 0.3}
    assert (made["seed"], made["finetune"]["epochs"]) == (7, 4.0)
    recipes.parse(made)

    wrong = web.post("/recipe", data={**answers, "percent": "130"}).text
    assert "prune.budget" in wrong
    assert 'aria-invalid="true"' in wrong
    typed = {"csrf": token, "model": scene.model, "data": scene.data, "recipe": '{"prune": {"round": 3}}'}
    refused = web.post("/new", data=typed)
    assert refused.status_code == 422
    assert "did you mean" in refused.text
    assert scene.parts.jobs.page(limit=1) == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_by_name_is_shown_as_it_is(web: TestClient, scene: Scene, name: str) -> None:
    path = f"/new?model={scene.model}&data={scene.data}"
    html = web.get(path).text
    assert re.findall(r'name="named" value="([\w-]+)"', html) == list(PRESETS)
    sent = {"csrf": Reader(html).token, "recipe": '{"seed": 7}', "compose": "named", "named": name}
    sent |= {"model": scene.model, "data": scene.data}
    shown = Reader(web.post("/recipe", data=sent).text).text
    made = json.loads(shown.split("Recipe")[1].split("This server")[0])
    expected = recipes.dump(PRESETS[name].recipe)
    expected["prune"]["budget"]["keep"] = PRESETS[name].recipe.prune.budget.keep or 0.5  # it is written out
    assert recipes.dump(recipes.parse(made)) == expected
    # Without scripts, too: the same recipe, and the answers in words that it amounts to.
    page = web.post("/new", data=sent).text
    assert json.loads(Reader(page).text.split("Recipe")[-1].split("This server")[0]) == made
    checked = dict(re.findall(r'name="(named|budget|effort)" value="([\w-]+)" checked', page))
    assert checked["named"] == name
    budget = PRESETS[name].recipe.prune.budget
    if checked["budget"] == "own":
        assert f'value="{100 * (budget.keep or 0.5):g}"' in page
    else:
        asked = next(choice.part for choice in choices.budgets() if choice.id == checked["budget"])
        assert (asked["metric"], asked["keep"]) == (budget.metric, budget.keep or 0.5)


def test_the_answers_say_what_a_name_means() -> None:
    said = {known.name: (known.answers["budget"], known.answers["effort"]) for known in all_named()}
    assert said["balanced"] == ("half", "balanced")
    assert said["quick"] == ("half", "quick")
    assert said["latency-2x"] == ("fast", "balanced")
    assert said["max-accuracy"] == ("own", "thorough")
    assert said["label-free"] == ("own", "")


@pytest.mark.parametrize("told", [{"seed": 3}, {"base": "quick", "seed": 3}], ids=str)
def test_a_job_starts_with_the_recipe_that_was_shown(
    web: TestClient, scene: Scene, told: dict[str, Any]
) -> None:
    page = read(web, f"/new?model={scene.model}&data={scene.data}")
    sent = {"csrf": page.token, "model": scene.model, "data": scene.data, "recipe": json.dumps(told)}
    answer = web.post("/new", data=sent)
    assert answer.status_code == 303
    (job,) = scene.parts.jobs.page(limit=2)
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert job.recipe == recipes.dump(recipes.build(told))


def test_a_clone_begins_with_what_its_job_was_told(web: TestClient, scene: Scene) -> None:
    told = {"seed": 11, "prune": {"budget": {"metric": "size", "keep": 0.35}}}
    job = scene.queued(recipes.dump(recipes.parse(told)))
    html = web.get(f"/new?from={job}").text
    text = Reader(html).text
    shown = json.loads(text.split("Recipe")[-1].split("This server")[0])
    assert shown == told
    assert f'value="{scene.model}"' in html


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 4), ("?state=succeeded", 1), ("?state=queued&state=running", 1), ("?state=failed", 1)],
)
def test_the_list_is_narrowed_by_state(web: TestClient, scene: Scene, query: str, count: int) -> None:
    scene.done("half"), scene.failed(), scene.cancelled(), scene.queued()
    html = web.get(f"/jobs{query}").text
    assert html.count('type="checkbox"') == count
    assert html.count('aria-current="true"') == 1


def test_a_long_list_goes_on(web: TestClient, scene: Scene) -> None:
    made = [scene.queued() for _ in range(33)]
    first = web.get("/jobs").text
    more = re.search(r'href="(/jobs\?cursor=[^"]+)"', first)
    assert more is not None
    second = web.get(more[1].replace("&amp;", "&")).text
    seen = re.findall(r'value="(job_\w+)"', first + second)
    assert sorted(seen) == sorted(made)


def test_a_failed_job_says_why_and_can_be_tried_again(web: TestClient, scene: Scene) -> None:
    job = scene.failed()
    page = read(web, f"/jobs/{job}")
    text = words(page)
    assert "data array 'image': expected an array of that name, got picture" in text
    assert "Trying the same again would end the same way" in text
    again = web.post(f"/jobs/{job}/retry", data={"csrf": page.token})
    assert scene.parts.jobs.get(again.headers["location"].rpartition("/")[2]).retry_of == job


def test_a_result_shows_what_its_report_says(web: TestClient, scene: Scene) -> None:
    job = scene.done("half")
    report = json.loads(scene.parts.artifacts.path(job, 1, "report.json").read_text())
    text = words(read(web, f"/jobs/{job}"))
    for row in report["summary"]:
        assert all(cell in text for cell in row), row
    for layer in report["layers"]:
        assert f"{layer['before']} → {layer['after']}" in text
    assert f"{report['latency'][0]['speedup']:.2f}" in text
    for name in ("model.onnx", "report.json", "report.html", "plan.json"):
        assert name in text


def test_a_report_that_cannot_be_read_costs_its_part_of_the_page_only(web: TestClient, scene: Scene) -> None:
    job = scene.done("half")
    for content in ("", "[]", '{"schema": "sosp.report/9"}', '{"judged_on": 3}'):
        scene.parts.artifacts.path(job, 1, "report.json").write_text(content)
        assert "model.onnx" in words(read(web, f"/jobs/{job}"))


def test_jobs_side_by_side_name_the_best(web: TestClient, scene: Scene) -> None:
    ids = [scene.done("half"), scene.done("quarter"), scene.failed()]
    html = web.get("/compare?" + "&".join(f"job={id}" for id in ids)).text
    row = re.search(r"<tr><th scope=\"row\">MACs per sample</th>(.*?)</tr>", html, re.S)
    assert row is not None
    assert re.findall(r'class="number( best)?"', row[1]) == ["", " best", ""]
    assert html.count('class="dot"') == 2


def test_what_changes_something_takes_the_token_of_the_page(web: TestClient, scene: Scene) -> None:
    job = scene.queued()
    token = read(web, f"/jobs/{job}").token
    for bad in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
        answer = web.post(f"/jobs/{job}/cancel", data=bad)
        assert answer.status_code == 403
        assert "load its page again" in answer.text
    assert not scene.parts.jobs.get(job).cancel_requested
    evil = {"Origin": "https://evil.example"}
    assert web.post(f"/jobs/{job}/cancel", data={"csrf": token}, headers=evil).status_code == 403
    assert web.post(f"/jobs/{job}/cancel", data={"csrf": token}).status_code == 303
    assert scene.parts.jobs.get(job).state == "cancelled"
    assert web.post(f"/jobs/{job}/delete", data={"csrf": token}).headers["location"] == "/jobs"
    assert web.get(f"/jobs/{job}").status_code == 404


def test_errors_are_pages_for_browsers_and_documents_for_programs(web: TestClient) -> None:
    for path in ("/jobs/job_x", "/v1/jobs/job_x", "/nowhere"):
        page = web.get(path)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "Start page" in page.text
        document = web.get(path, headers={"Accept": "application/json"})
        assert (document.status_code, document.headers["content-type"]) == (404, "application/problem+json")
        assert document.json()["code"] == "not_found"


@pytest.mark.parametrize("body", [b"csrf=%ff", b"&".join(b"a=%d" % i for i in range(200)), b"\xff\xfe"])
def test_forms_that_cannot_be_read_are_refused(web: TestClient, body: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert web.post("/recipe", content=body, headers=kind).status_code == 400
