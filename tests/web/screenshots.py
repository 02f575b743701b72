"""Photographs every page for ``docs/screenshots``: ``python -m tests.web.screenshots``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.live import running_stack
from tests.web.browser import Visit, running_browser, visit
from tests.web.stage import KINDS, Scene

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
LARGEST = 150_000
WIDE, NARROW = {"width": 1180, "height": 820}, {"width": 390, "height": 800}
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "narrow": {"color_scheme": "light", "viewport": NARROW},
}


def main(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root, running_browser() as browser:
        pages = fill(Scene.at(Path(root)))
        with running_stack(Path(root), worker_ttl_s=1e6) as stack:
            for view, options in VIEWS.items():
                with visit(browser, stack.url, **options) as seen:
                    for name, path in pages.items():
                        show(seen, name, path)
                        save(seen, place / f"{name}-{view}.png")
    sign_in(place)


def fill(scene: Scene) -> dict[str, str]:
    """Make what the pages show, and say where each page is."""
    scene.inspected()
    scene.cancelled()
    done = [scene.done(kind) for kind in KINDS]
    failed, running = scene.failed(), scene.running()
    return {
        "start": "/",
        "budget": f"/new?model={scene.model}&data={scene.data}",
        "running": f"/jobs/{running}",
        "result": f"/jobs/{done[0]}",
        "failed": f"/jobs/{failed}",
        "jobs": "/jobs",
        "compare": "/compare?" + "&".join(f"job={id}" for id in done),
        "error": "/jobs/job_00000000000000000000000000",
    }


def show(seen: Visit, name: str, path: str) -> None:
    seen.go(path)
    match name:
        case "start":
            seen.page.select_option("#model", index=1)
            seen.page.select_option("#data", index=1)
            seen.page.wait_for_selector("#card .facts")
        case "running":
            seen.page.wait_for_selector("#curves figure")


def save(seen: Visit, path: Path) -> None:
    """Few colours are enough for a page."""
    seen.page.screenshot(path=path, full_page=True)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(96, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    assert path.stat().st_size < LARGEST, f"{path.name} has {path.stat().st_size:,} bytes"


def sign_in(place: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as root,
        running_stack(Path(root), require_keys=True) as stack,
        running_browser() as browser,
    ):
        for view, options in VIEWS.items():
            with visit(browser, stack.url, **options) as seen:
                seen.go("/jobs")
                save(seen, place / f"sign-in-{view}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE)
