"""Parts of ``docs/benchmarks.md`` that are made from files of numbers, each between two marks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, RAW = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "raw"


def written(name: str) -> str:
    """What stands between the marks of a part."""
    return _split(name)[1].strip()


def write(name: str, told: str) -> None:
    """Put a part between its marks."""
    before, _, after = _split(name)
    PAGE.write_text(f"{before}\n\n{told}\n\n{after}", "utf-8")


def _split(name: str) -> tuple[str, str, str]:
    file = name if "." in name else f"{name}.json"
    begin, end = f"<!-- {Path(file).stem}: made from docs/raw/{file} -->", f"<!-- /{Path(file).stem} -->"
    before, rest = PAGE.read_text("utf-8").split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after
