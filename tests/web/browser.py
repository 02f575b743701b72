"""A real browser for tests: headless Chromium, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ABSENT = "no Chromium on the PATH: `make browser` installs Debian's as root"
# A machine that runs other things too may take long to draw a page.
PATIENCE_MS = 30_000


def chromium() -> str | None:
    """Where the browser is."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The pages are ours; as root, as in containers, Chromium's own sandbox does not start.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what it asked for and complained of."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def foreign(self) -> list[str]:
        """Requests that went anywhere else."""
        ours = urlsplit(self.url).netloc
        return [
            url
            for url in self.asked
            if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != ours
        ]


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A fresh browser context that listens to everything its page does."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    made = Visit(page, url)

    def on_request(request: Request) -> None:
        made.asked.append(request.url)

    context.on("request", on_request)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("console", lambda m: made.complaints.append(m.text) if m.type == "error" else None)
    try:
        yield made
    finally:
        context.close()
