"""A training run as facts for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sosp_core.finetune.history import History


def training_facts(history: History) -> dict[str, Any]:
    """What was trained and how it went, evaluation by evaluation."""
    return {
        "steps": history.steps,
        "restarts": history.restarts,
        "augmentations": list(history.augmentations),
        "points": [{"step": p.step, **asdict(p.quality)} for p in history.points],
    }
