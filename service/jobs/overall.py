"""How much of a job is behind us: an estimate from typical shares of the stages."""

from __future__ import annotations

from collections.abc import Mapping

# Shares of the time of a typical job, in the order of ``sosp_core.pipeline.STAGES``.
WEIGHTS: Mapping[str, float] = {
    "load": 1,
    "convert": 2,
    "discover": 1,
    "score": 25,
    "cut": 2,
    "finetune": 50,
    "write": 2,
    "evaluate": 7,
    "benchmark": 9,
    "export": 1,
    "report": 1,
}
TOTAL = sum(WEIGHTS.values())


def overall(stage: str, done: float) -> float:
    """The share of the whole job that is finished, 0 to 1; an unknown stage counts as not begun."""
    if stage not in WEIGHTS:
        return 0.0
    names = list(WEIGHTS)
    before = sum(WEIGHTS[name] for name in names[: names.index(stage)])
    return (before + WEIGHTS[stage] * min(max(done, 0.0), 1.0)) / TOTAL
