"""Fail if a compression cost too much or gained too little; for continuous integration.

    python examples/ci/check.py slim.report.json --points 1.0 --speedup 1.2

Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Read the report; the exit code is 1 if a limit is crossed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--points", type=float, default=1.0, help="Points of accuracy it may cost.")
    parser.add_argument("--speedup", type=float, default=1.0, help="Every setting must be this much faster.")
    arguments = parser.parse_args()
    faults = list(judge(json.loads(arguments.report.read_text()), arguments.points, arguments.speedup))
    for fault in faults:
        sys.stdout.write(f"::error::{fault}\n")
    return 1 if faults else 0


def judge(report: dict[str, Any], points: float, speedup: float) -> list[str]:
    """What crosses a limit; without labels fidelity stands for accuracy."""
    before, after = report.get("before", {}), report.get("after", {})
    measure = "fidelity" if before.get("accuracy") is None else "accuracy"
    faults = []
    if measure in before:
        lost = 100 * (before[measure] - after[measure])
        if lost > points:
            faults.append(f"{measure} fell by {lost:.1f} points, {points:g} are allowed")
    for c in report.get("latency", []):
        if c["speedup_low"] < speedup:
            faults.append(
                f"batch {c['batch_size']}, {c['threads']} thread(s): {c['speedup']:.2f}x "
                f"[{c['speedup_low']:.2f}, {c['speedup_high']:.2f}], {speedup:g} was asked for"
            )
    return faults


if __name__ == "__main__":
    sys.exit(main())
