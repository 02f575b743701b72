"""A part of the page: each file of ``sections`` makes one, or None if it has nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sosp_core.report.report import Report


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a template needs.

    Attributes:
        name: Of the template in ``templates/sections``, and of the anchor.
        title: The heading.
        facts: What the template shows.
    """

    name: str
    title: str
    facts: dict[str, Any] = field(default_factory=dict)


Maker = Callable[[Report], Section | None]
