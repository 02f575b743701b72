"""Making foreign text and numbers safe to store and to send on."""

from __future__ import annotations

import math
from typing import Any

LONGEST = 4000


def clean(text: str, longest: int = LONGEST) -> str:
    """``text`` without what databases and terminals refuse: lone surrogates and control characters."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    printable = "".join(c if c >= " " and c != "\x7f" else " " for c in encodable)
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"


def finite(value: Any) -> Any:
    """``value`` as plain JSON: unknown types as text, NaN and infinities as None."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {clean(str(key)): finite(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [finite(item) for item in value]
        case _:
            return clean(str(value))
