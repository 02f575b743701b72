"""Several jobs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.web import words
from service.web.views.charts import Plane, plane
from service.web.views.jobs import JobCard
from service.web.views.results import Result
from sosp_core import units

MOST = 8


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One job, and its result if it has one."""

    mark: str
    card: JobCard
    result: Result | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity for every job; ``best`` are the columns with the best value."""

    name: str
    cells: list[str]
    best: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The table, and the picture of what speed costs."""

    entries: list[Entry]
    rows: list[Row]
    frontier: Plane | None
    frontier_of: str

    @classmethod
    def of(cls, jobs: list[tuple[JobCard, Result | None]]) -> Comparison:
        """The comparison of jobs, each under a letter."""
        entries = [
            Entry(mark=chr(ord("A") + index), card=card, result=result)
            for index, (card, result) in enumerate(jobs)
        ]
        name, frontier = _frontier(entries)
        return cls(entries=entries, rows=_rows(entries), frontier=frontier, frontier_of=name)


def _rows(entries: list[Entry]) -> list[Row]:
    """Each quantity that at least one job knows; smaller is better but for the last three."""
    sides = [None if entry.result is None else entry.result.facts for entry in entries]
    told = [
        ("Parameters", [_of(s, "params") for s in sides], units.count, min),
        ("MACs per sample", [_of(s, "macs") for s in sides], units.count, min),
        ("File", [_of(s, "file_bytes") for s in sides], units.size, min),
        ("Accuracy", [_of(s, "accuracy") for s in sides], units.percent, max),
        ("Fidelity to the original", [_of(s, "fidelity") for s in sides], units.percent, max),
        ("Best speed-up", [_speed(s) for s in sides], lambda value: f"{value:.2f}{words.TIMES}", max),
    ]
    return [
        _row(name, values, show, best)
        for name, values, show, best in told
        if any(v is not None for v in values)
    ]


def _row(name: str, values: list[float | None], show: Any, best: Any) -> Row:
    known = [value for value in values if value is not None]
    target = best(known)
    spread = len(known) > 1 and min(known) != max(known)
    winners = frozenset(i for i, value in enumerate(values) if spread and value == target)
    return Row(name=name, cells=["—" if v is None else show(v) for v in values], best=winners)


def _of(facts: dict[str, Any] | None, name: str) -> float | None:
    return None if facts is None else facts["after"].get(name)


def _speed(facts: dict[str, Any] | None) -> float | None:
    return max((c["speedup"] for c in facts["latency"]), default=None) if facts else None


def _frontier(entries: list[Entry]) -> tuple[str, Plane | None]:
    done = [(entry, entry.result.facts) for entry in entries if entry.result is not None]
    judged = all(facts["after"].get("accuracy") is not None for _, facts in done)
    name = "accuracy" if judged else "fidelity"
    points = [
        (
            entry.mark,
            speed,
            facts["after"][name],
            f"{entry.mark}: {speed:.2f}{words.TIMES}, {units.percent(facts['after'][name])}",
        )
        for entry, facts in done
        if (speed := _speed(facts)) is not None
    ]
    return name, plane(points, x_unit=words.TIMES, y_percent=True) if len(points) > 1 else None
