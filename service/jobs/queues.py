"""The queues a worker serves, as settings and the broker write them."""

from __future__ import annotations


def parse(text: str) -> list[str]:
    """The queues in ``any,cpu``."""
    return [name.strip() for name in text.split(",")]


def address(name: str) -> str:
    """What the broker calls a queue."""
    return f"sosp.{name}"
