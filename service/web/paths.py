"""Which paths are pages, for whoever decides who may see them."""

from __future__ import annotations

PAGES = ("/jobs", "/models", "/new", "/recipe", "/compare")
SIGN_IN = "/sign-in"


def is_page(path: str) -> bool:
    """Whether ``path`` shows something that belongs to somebody."""
    return path == "/" or any(path == page or path.startswith(f"{page}/") for page in PAGES)


def is_local(target: str) -> bool:
    """Whether a redirect to ``target`` stays here."""
    return target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
