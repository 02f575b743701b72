"""Plain words for what programs call otherwise."""

from __future__ import annotations

from collections.abc import Mapping

TIMES = "\N{MULTIPLICATION SIGN}"
STAGES: Mapping[str, str] = {
    "load": "Read model and data",
    "convert": "Rebuild the network and check it",
    "discover": "Find what can be removed",
    "score": "Price every structure",
    "cut": "Cut, and prove the cut",
    "finetune": "Fine-tune",
    "write": "Write the model back",
    "evaluate": "Evaluate",
    "benchmark": "Time both models",
    "report": "Write the report",
}
STATES: Mapping[str, str] = {
    "queued": "Waiting",
    "running": "Running",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
METRICS: Mapping[str, str] = {
    "macs": "compute",
    "params": "parameters",
    "size": "weight bytes",
    "structures": "channels and units",
    "latency": "latency",
}


def seconds(value: float) -> str:
    """A duration: ``8.4 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def stage(name: str) -> str:
    """What a stage does."""
    return STAGES.get(name, name.replace("_", " ").capitalize())


def plural(count: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def budget(recipe: dict[str, object]) -> str:
    """What a recipe asks for: ``keep 50 % of compute``."""
    prune = recipe.get("prune")
    asked = prune.get("budget") if isinstance(prune, dict) else None
    if not isinstance(asked, dict):
        return "keep 50 % of compute"
    drop, metric = (
        asked.get("max_drop"),
        METRICS.get(str(asked.get("metric", "macs")), str(asked.get("metric"))),
    )
    parts = []
    if asked.get("at_most") is not None:
        unit = "ms" if asked.get("metric") == "latency" else f"of {metric}"
        parts.append(f"at most {asked['at_most']:,} {unit}")
    elif asked.get("keep") is not None or drop is None:
        parts.append(f"keep {100 * (asked.get('keep') or 0.5):g} % of {metric}")
    if drop is not None:
        parts.append(f"lose at most {100 * drop:g} point{'' if drop == 0.01 else 's'}")
    return ", ".join(parts)
