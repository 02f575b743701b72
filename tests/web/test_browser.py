"""The whole way in a real browser, against the real service; ``tests.standin`` compresses."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from service.client import Client
from service.jobs.inspections import Inspections
from tests.core.digits import digits_model, save_digits
from tests.live import Bench, Stack, model_bytes, npz_bytes, running_stack
from tests.web.browser import ABSENT, PATIENCE_MS, Visit, chromium, running_browser, visit
from tests.web.screenshots import fill, show
from tests.web.stage import SAMPLES, Scene

pytestmark = pytest.mark.skipif(chromium() is None, reason=ABSENT)
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as started:
        yield started


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    place = tmp_path_factory.mktemp("browser")
    with running_stack(place / "data", workers=1) as stack, Client(stack.url) as client:
        yield Bench(stack, client, place)


@contextmanager
def quiet_visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A visit during which nothing is fetched from elsewhere, and nothing goes wrong."""
    with visit(browser, url, **options) as seen:
        yield seen
        assert seen.foreign() == []
        assert seen.complaints == []


def known(stack: Stack, model: bytes) -> None:
    """A worker has looked at this model before; real looks are ``tests.worker.test_inspector``'s."""
    requests = Inspections(stack.settings.data_dir)
    requests.ask(hashlib.sha256(model).hexdigest(), "onnx")
    request = requests.take()
    assert request is not None
    requests.settle(request, {"inspection": json.loads((SAMPLES / "inspection.json").read_text())})


def bring(seen: Visit, model: Path, data: Path) -> None:
    """Upload both files, and go on to the budget."""
    page = seen.page
    seen.go("/")
    page.set_input_files("#model-file", model)
    expect(page.locator("#model-status")).to_contain_text(f"{model.name} is here")
    page.set_input_files("#data-file", data)
    expect(page.locator("#data-status")).to_contain_text(f"{data.name} is here")
    expect(page.locator("#card .verdict")).to_contain_text("could be removed")
    page.click("text=Choose a budget")


def test_from_two_files_to_a_slim_one(browser: Browser, scripted: Bench, tmp_path: Path) -> None:
    script = [["report", "score", "round 1 of 2"], ["sleep", 1.5]]
    model, data = tmp_path / "net.onnx", tmp_path / "some.npz"
    model.write_bytes(model_bytes(*script))
    data.write_bytes(npz_bytes())
    known(scripted.stack, model.read_bytes())
    with quiet_visit(browser, scripted.stack.url) as seen:
        page = seen.page
        bring(seen, model, data)
        # A name fills in the words and the recipe; by keyboard as by mouse.
        page.locator("[name=named][value=balanced]").focus()
        for _ in range(3):
            page.keyboard.press("ArrowDown")
        expect(page.locator("[name=named][value=latency-2x]")).to_be_checked()
        expect(page.locator("#recipe")).to_have_value(re.compile(r'"metric": "latency",\s+"keep": 0.5'))
        expect(page.get_by_label("Twice as fast")).to_be_checked()
        expect(page.locator("#when")).to_contain_text("milliseconds")
        page.click("text=A quarter of the compute")
        recipe = page.locator("#recipe")
        expect(recipe).to_have_value(re.compile(r'"metric": "macs",\s+"keep": 0.25'))
        recipe.fill('{"prune": {"budget": {"keep": 2}}}')
        expect(page.locator("#recipe-check")).to_contain_text("prune.budget.keep")
        expect(page.locator("text=Start the job")).to_be_disabled()
        recipe.fill('{"seed": 5, "prune": {"budget": {"keep": 0.25}}}')
        expect(page.locator("#recipe-check")).to_contain_text("accepts it")
        page.click("text=Start the job")
        expect(page.locator("#curves figcaption").first).to_contain_text("Training loss")
        expect(page.locator("#steps [aria-current]")).to_have_text("Fine-tune")
        expect(page.locator(".lead .pill")).to_have_text("Done")
        with page.expect_download() as waiting:
            page.click("text=Slim model")
        assert Path(waiting.value.path()).read_bytes() == model.read_bytes()
        job = page.url.rpartition("/")[2]
    assert scripted.client.job(job).refresh().recipe["seed"] == 5


def test_a_failure_appears_by_itself_with_its_reason(browser: Browser, scripted: Bench) -> None:
    wrong = {"field": "image", "expected": "float32", "got": "text"}
    job = scripted.submit(["sleep", 1.5], ["raise", "DataMismatch", wrong])
    with quiet_visit(browser, scripted.stack.url) as seen:
        seen.go(f"/jobs/{job.id}")
        expect(seen.page.get_by_role("alert")).to_contain_text("expected float32, got text")
        seen.page.click("text=Try again")
        expect(seen.page.locator("h1")).to_have_text("model.onnx")
        assert job.id not in seen.page.url


def test_a_job_is_cancelled_from_its_page(browser: Browser, scripted: Bench) -> None:
    job = scripted.running(["sleep", 60.0])
    with quiet_visit(browser, scripted.stack.url) as seen:
        seen.go(f"/jobs/{job.id}")
        seen.page.click("text=Cancel")
        expect(seen.page.locator(".lead .pill")).to_have_text("Cancelled")
    assert job.refresh().state == "cancelled"


def test_jobs_are_chosen_from_the_list_and_compared(browser: Browser, tmp_path: Path) -> None:
    scene = Scene.at(tmp_path)
    done = [scene.done(kind) for kind in ("half", "quarter")]
    with running_stack(tmp_path) as stack, quiet_visit(browser, stack.url) as seen:
        seen.go("/jobs")
        for job in done:
            seen.page.check(f'input[value="{job}"]')
        seen.page.click("text=Compare the chosen ones")
        expect(seen.page.locator(".letter")).to_have_text(["A", "B"])
        expect(seen.page.locator("svg .dot")).to_have_count(2)
        # By keyboard: the first stop of a page leads past its navigation.
        seen.page.keyboard.press("Tab")
        expect(seen.page.locator(".skip")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, scheme: str, tmp_path: Path) -> None:
    scene = Scene.at(tmp_path)
    pages = fill(scene) | {"sign-in": "/sign-in", "nothing": "/compare"}
    if scheme == "dark":
        pages = {name: pages[name] for name in ("budget", "result", "failed")}
    found = {}
    with running_stack(tmp_path) as stack, visit(browser, stack.url, color_scheme=scheme) as seen:
        for name, path in pages.items():
            show(seen, name, path)
            violations = Axe().run(seen.page).response["violations"]
            found[name] = [
                (violation["id"], [node["target"] for node in violation["nodes"]])
                for violation in violations
                if violation["impact"] in ("serious", "critical")
            ]
    assert found == {name: [] for name in pages}


@pytest.fixture
def patient() -> Iterator[float]:
    """Real jobs take minutes where others use the machine, too."""
    expect.set_options(timeout=600_000)
    yield 600_000
    expect.set_options(timeout=PATIENCE_MS)


def serious(seen: Visit) -> list[str]:
    violations = Axe().run(seen.page).response["violations"]
    return [v["id"] for v in violations if v["impact"] in ("serious", "critical")]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_way_with_a_real_network(browser: Browser, tmp_path: Path, patient: float) -> None:
    """Without a stand-in: inspection, result, a clone, a comparison, a failure and a cancel."""
    import onnxruntime

    model, data = tmp_path / "digits.onnx", save_digits(tmp_path / "digits.npz")
    wrong = tmp_path / "wrong.npz"
    wrong.write_bytes(npz_bytes())
    model.write_bytes(digits_model())
    with (
        running_stack(tmp_path / "data", workers=1, scripted=False) as stack,
        quiet_visit(browser, stack.url) as seen,
    ):
        page = seen.page
        page.set_default_timeout(patient)
        bring(seen, model, data)
        assert serious(seen) == []
        page.check("[name=named][value=quick]")
        expect(page.locator("#recipe")).to_have_value(re.compile('"rounds": 3'))
        page.click("text=Start the job")
        expect(page.locator(".lead .pill")).to_have_text("Done")
        expect(page.locator(".stats dt").first).to_have_text("Compute")
        expect(page.locator(".widths tbody tr").first).to_be_visible()
        expect(page.locator(".drawing svg .stop.ground").first).to_be_visible()
        page.click("text=The same as a table")
        expect(page.locator(".blocks tbody tr").first).to_contain_text("image")
        assert serious(seen) == []
        with page.expect_download() as waiting:
            page.click("text=Slim model")
        slim = Path(waiting.value.path()).read_bytes()

        page.click("text=Clone with changes")
        page.fill("#recipe", '{"prune": {"rounds": 1, "budget": {"keep": 0.7}}, "finetune": {"steps": 5}}')
        expect(page.locator("#recipe-check")).to_contain_text("accepts it")
        page.click("text=Start the job")
        expect(page.locator(".lead .pill")).to_have_text("Done")
        seen.go("/jobs")
        for box in page.locator('tbody input[type="checkbox"]').all():
            box.check()
        page.click("text=Compare the chosen ones")
        expect(page.locator(".letter")).to_have_text(["A", "B"])
        assert serious(seen) == []

        bring(seen, model, wrong)
        page.click("text=Start the job")
        expect(page.get_by_role("alert")).to_contain_text("image")
        expect(page.locator(".lead .pill")).to_have_text("Failed")
        assert serious(seen) == []

        bring(seen, model, data)
        page.click("text=Start the job")
        expect(page.locator("#steps [aria-current]")).to_be_visible()
        page.click("text=Cancel")
        expect(page.locator(".lead .pill")).to_have_text("Cancelled")
    session = onnxruntime.InferenceSession(slim, providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["image"]
    assert len(slim) < model.stat().st_size
