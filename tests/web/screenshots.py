"""Photographs every page for ``docs/screenshots``: ``python -m tests.web.screenshots``.

The jobs are real: a small network trained on handwritten digits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser

from service.client import Client
from tests.core.digits import digits_model, save_digits
from tests.live import Stack, running_stack, until
from tests.web.browser import Visit, running_browser, visit

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
LARGEST = 150_000
BENCH = {"batch_sizes": [1, 16], "min_time_s": 0.3, "max_time_s": 0.6}
QUICK: dict[str, Any] = {"finetune": {"epochs": 3.0}, "benchmark": BENCH}
LONG: dict[str, Any] = {"finetune": {"epochs": 200.0, "patience": 200}, "benchmark": BENCH}
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1180, "height": 820}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1180, "height": 820}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, running_stack(Path(place), workers=1, scripted=False) as stack:
        files = Path(place)
        (files / "digits.onnx").write_bytes(digits_model())
        save_digits(files / "digits.npz", count=800)
        np.savez(files / "photos.npz", picture=np.zeros((4, 3, 32, 32), np.float32))
        pages = jobs(stack, files)
        with running_browser() as browser:
            for view, options in VIEWS.items():
                shoot(browser, stack.url, view, options, pages)
        sign_in(stack)


def jobs(stack: Stack, files: Path) -> dict[str, str]:
    """Runs what the pages show, and says where each page is."""
    with Client(stack.url) as client:
        model = client.upload_model(files / "digits.onnx")
        data, wrong = client.upload_dataset(files / "digits.npz"), client.upload_dataset(files / "photos.npz")
        until(lambda: stack.get(f"/v1/models/{model.id}/inspection").status_code == 200, 120)
        done = [
            client.submit(model, data, recipe={**QUICK, "prune": {"rounds": 3, "budget": budget}})
            for budget in ({"keep": 0.5}, {"keep": 0.25}, {"metric": "size", "keep": 0.35})
        ]
        for job in done:
            job.wait(600)
        failed = client.submit(model, wrong)
        until(lambda: failed.refresh().finished, 120)
        client.submit(model, data, recipe=QUICK).cancel()
        running = client.submit(model, data, recipe=LONG)
        until(lambda: running.refresh().stage == "finetune" and running.refresh().progress > 0.05, 300)
    ids = "&".join(f"job={job.id}" for job in done)
    return {
        "start": "/",
        "model": f"/models/{model.id}",
        "budget": f"/new?model={model.id}&data={data.id}",
        "running": f"/jobs/{running.id}",
        "result": f"/jobs/{done[1].id}",
        "failed": f"/jobs/{failed.id}",
        "jobs": "/jobs",
        "compare": f"/compare?{ids}",
        "missing": "/jobs/job_00000000000000000000000000",
    }


def shoot(browser: Browser, url: str, view: str, options: dict[str, Any], pages: dict[str, str]) -> None:
    with visit(browser, url, **options) as seen:
        for name, path in pages.items():
            seen.go(path)
            if name == "start":
                seen.page.select_option("#model", index=1)
                seen.page.select_option("#data", index=1)
                seen.page.wait_for_selector("#card .facts")
            if name == "running":
                seen.page.wait_for_selector("#curves figure")
            if name == "budget":
                seen.page.click("summary:has-text('recipe this makes')")
            save(seen, f"{name}-{view}")


def save(seen: Visit, name: str) -> None:
    path = PLACE / f"{name}.png"
    seen.page.screenshot(path=path, full_page=True)
    shrink(path)


def shrink(path: Path) -> None:
    """Few colours are enough for a page; what is still too large is a bug of this script."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    assert path.stat().st_size < LARGEST, f"{path.name} has {path.stat().st_size:,} bytes"


def sign_in(stack: Stack) -> None:
    """Last, since a key that was made cannot be unmade."""
    with tempfile.TemporaryDirectory() as place, running_stack(Path(place), require_keys=True) as locked:
        with running_browser() as browser:
            for view, options in VIEWS.items():
                with visit(browser, locked.url, **options) as seen:
                    seen.go("/jobs")
                    save(seen, f"sign-in-{view}")


if __name__ == "__main__":
    main()
