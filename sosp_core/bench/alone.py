"""The time of one model by itself: for tables, where thousands of entries have to be cheap.

Load on the machine only ever adds, so the quickest of many runs is taken. Two models are never
compared by these numbers alone; see ``compare`` for that.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from sosp_core.bench.compare import bind, timed
from sosp_core.config import BenchmarkConfig
from sosp_core.runtime.session import CPU, Array, open_session, run

WARM_UP_RUNS = 3
FEWEST_RUNS, MOST_RUNS = 6, 60
#: What ONNX Runtime inserts around a part of a network that is run alone, and not within it.
BORDERS = frozenset({"ReorderInput", "ReorderOutput"})


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a latency is judged: the first entries of the benchmark."""

    threads: int
    batch: int
    providers: tuple[str, ...]

    @classmethod
    def of(cls, config: BenchmarkConfig, fixed_batch: int | None) -> Setting:
        """The setting a recipe names first."""
        return cls(
            threads=config.threads[0],
            batch=fixed_batch or config.batch_sizes[0],
            providers=config.providers,
        )

    def alone(self, config: BenchmarkConfig) -> BenchmarkConfig:
        """A benchmark of this setting only."""
        return BenchmarkConfig(
            providers=self.providers,
            threads=(self.threads,),
            batch_sizes=(self.batch,),
            min_time_s=config.min_time_s,
            max_time_s=config.max_time_s,
        )


def run_alone(content: bytes, feeds: Mapping[str, Array], setting: Setting, seconds: float) -> list[float]:
    """Seconds of each run of a model.

    Args:
        content: The model.
        feeds: Its inputs.
        setting: Threads and providers.
        seconds: Time to spend, once warm; at least a few runs are made.

    Raises:
        ModelInvalid: ONNX Runtime cannot load or run it.
    """
    return _run(open_session(content, threads=setting.threads, providers=setting.providers), feeds, seconds)


def fastest_kernels(content: bytes, feeds: Mapping[str, Array], setting: Setting, seconds: float) -> float:
    """Seconds of the quickest run of a part of a network: its kernels, without what its borders cost.

    On other providers than the CPU a kernel's time is only its launch: there the whole run counts.

    Raises:
        ModelInvalid: ONNX Runtime cannot load or run it.
    """
    if setting.providers[:1] != CPU:
        return min(run_alone(content, feeds, setting, seconds))
    with tempfile.TemporaryDirectory(prefix="sosp-profile-") as place:
        session = open_session(
            content, threads=setting.threads, providers=CPU, profile=str(Path(place) / "run")
        )
        runs = len(_run(session, feeds, seconds)) + WARM_UP_RUNS
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    inner = [float(e["dur"]) for e in kernels if e["args"].get("op_name") not in BORDERS]
    each = len(inner) // runs
    sums = [sum(inner[i : i + each]) for i in range(0, each * runs, each or 1)]
    return min(sums[WARM_UP_RUNS:], default=0.0) * 1e-6


def _run(session: ort.InferenceSession, feeds: Mapping[str, Array], seconds: float) -> list[float]:
    binding = bind(session, feeds)
    run(session, feeds)  # says why, if it cannot be run
    for _ in range(WARM_UP_RUNS - 1):
        timed(session, binding)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < FEWEST_RUNS or (len(times) < MOST_RUNS and time.perf_counter() - started < seconds):
        times.append(timed(session, binding))
    return times
